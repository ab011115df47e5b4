"""The command line options of a load under Locust, which its web page shows as custom arguments too."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.command_line import flag
from harness.errors import UsageError
from harness.load.staging import CANARY_SECONDS, DEPTH
from harness.load.target import LoadTarget
from harness.load.verdict import LoadBounds
from harness.masking import masked

_DRAIN_SECONDS = 30.0
_PRODUCERS = 2
_LATENESS = LoadBounds().lateness_p99


def add_options(parser: Any) -> None:
    """Add the options to Locust's parser."""
    group = parser.add_argument_group(
        "queue load", "QueueUser and OpenShape of harness.load; --host is the URL of Redis, or of the API."
    )

    def add(name: str, **settings: Any) -> None:
        group.add_argument(name, env_var=f"LOCUST_{name[2:].replace('-', '_').upper()}", **settings)

    add("--load-database", metavar="NAME", help="the database of DATABASE_URL")
    add("--load-queue", metavar="NAME", help="the queue that the pool serves")
    add("--load-api", metavar="URL", help="the status API of ApiUser")
    add("--load-shape", metavar="CLASS", help="the shape class, if the file has several")
    add("--load-drain", type=float, default=_DRAIN_SECONDS, help="seconds until every task must be terminal")
    add("--load-canary", type=float, default=CANARY_SECONDS, help="seconds of the first tasks; 0: no check")
    add("--load-brake", type=int, default=DEPTH, help="the load ends if more tasks than this wait in a queue")
    add("--load-lateness", type=float, default=_LATENESS, help="bound of the generator's own p99, in seconds")
    add("--load-producers", type=int, default=_PRODUCERS, help="agentexec clients of each process")
    for name, metavar, description in (
        ("--allow-target", "HOST", "put load on this host, which is not this machine; may be repeated"),
        ("--load-report", "DIR", "the folder of verdict.json, junit.xml and summary.md"),
        (
            "--load-meter",
            "URL",
            "the endpoint of `harness llm serve` that the tasks use, for tokens and cost",
        ),
        ("--load-prices", "FILE", "its price list as JSON"),
        ("--load-baseline", "DIR", "the report of an earlier load, to compare with"),
    ):
        # An option of these cannot be changed by a visitor of the web page.
        many: dict[str, Any] = {"action": "append", "default": []} if name == "--allow-target" else {}
        parser.add_argument(name, metavar=metavar, help=description, include_in_web_ui=False, **many)


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The options of one test, as they were when it started: the web page may change them."""

    host: str | None
    known_hosts: tuple[str, ...]
    database: str | None
    queue: str | None
    api: str | None
    drain: float
    canary: float
    brake: int
    lateness: float
    producers: int
    allowed: tuple[str, ...]
    report: Path | None
    meter: str | None
    prices: Path | None
    baseline: Path | None

    @classmethod
    def of(cls, options: Namespace, host: str | None, own_host: str | None) -> LoadOptions:
        """Read the options; raises `UsageError` for a number that bounds nothing.

        `host` is what --host or the web page gives, and `own_host` what the command line gave.
        """
        for name in ("load_drain", "load_canary", "load_brake", "load_lateness"):
            if not 0 <= getattr(options, name) < math.inf:
                raise UsageError(
                    f"{flag(name)} cannot be {getattr(options, name)}; give a number of 0 or more."
                )
        known = (own_host, os.environ.get("REDIS_URL"), os.environ.get("HARNESS_REDIS_URL"))
        return cls(
            host=host or None,
            known_hosts=tuple(one for one in known if one),
            database=options.load_database or None,
            queue=options.load_queue or None,
            api=options.load_api or None,
            drain=float(options.load_drain),
            canary=float(options.load_canary),
            brake=int(options.load_brake),
            lateness=float(options.load_lateness),
            producers=max(1, int(options.load_producers)),
            allowed=tuple(options.allow_target or ()),
            report=Path(options.load_report) if options.load_report else None,
            meter=options.load_meter or None,
            prices=Path(options.load_prices) if options.load_prices else None,
            baseline=Path(options.load_baseline) if options.load_baseline else None,
        )

    def target(self) -> LoadTarget:
        """The servers; raises `UsageError`. The web page shows the host without its password."""
        redis = self.host if self.host and not _is_http(self.host) else None
        redis = next((one for one in self.known_hosts if masked(one) == redis), redis)
        return LoadTarget.make(database=self.database, host=redis, variables=os.environ, allowed=self.allowed)

    def api_url(self) -> str | None:
        """The address of the status API: --load-api, or a --host that is one."""
        return self.api or (self.host if self.host and _is_http(self.host) else None)

    def queue_of(self, own: str | None) -> str:
        """The queue of a user class that has a queue of its `own`, or none; raises `UsageError`."""
        queue = own or self.queue
        if not queue:
            raise UsageError(
                "There is no queue; give the one that the pool serves as --load-queue NAME (a .env file is not read)."
            )
        return queue


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))
