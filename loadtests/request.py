"""The request of a load test, validated in full before anything is started."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from harness.command_line import Parser, filled_path, flag
from harness.environments import BACKENDS, make_environment
from harness.environments.base import Environment
from harness.environments.urls import database_name
from harness.errors import UsageError
from loadtests.profiles import PROFILES, Profile, profile
from loadtests.slo import Slo

LONGEST_SECONDS = 3600.0
MOST_USERS = 2000
MOST_WORKERS = 64


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """One load test. `queue` is the name of its own queue; the environment is not started."""

    profile: Profile
    environment: Environment
    report: Path
    queue: str
    json: bool

    @property
    def slo(self) -> Slo:
        """The service levels of the run."""
        return self.profile.slo

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> LoadRequest:
        """Parse and validate the arguments; raises `UsageError`."""
        options = _parser().parse_args(arguments)
        chosen = profile(options.profile)
        given = {name: getattr(options, name) for name in ("duration", "users", "workers")}
        chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        return cls(
            profile=replace(chosen, slo=chosen.slo.with_overrides(options.slo)),
            environment=_environment(options),
            report=options.report or Path("reports") / f"load-{stamp}",
            queue=f"load-{secrets.token_hex(4)}",
            json=options.json,
        )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m loadtests.run",
        description="Enqueue through agentexec at a planned rate while a pool works, and judge the service levels.",
        epilog="Exit codes: 0 all met, 1 one breached or a task not done, 2 not measurable, 64 wrong usage.",
    )
    listed = "; ".join(f"{each.name}: {each.summary}" for each in PROFILES.values())
    parser.add_argument("--profile", default="smoke", metavar="NAME", help=listed)
    parser.add_argument(
        "--duration", type=_Number(1, LONGEST_SECONDS), metavar="SECONDS", help="instead of the profile's"
    )
    parser.add_argument("--users", type=_Whole(1, MOST_USERS), metavar="N", help="instead of the profile's")
    parser.add_argument(
        "--workers",
        type=_Whole(0, MOST_WORKERS),
        metavar="N",
        help="worker processes; with 0 no task is run",
    )
    parser.add_argument(
        "--slo",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another service level, may be repeated",
    )
    parser.add_argument("--report", type=filled_path, metavar="DIR", help="default: reports/load-<time>")
    parser.add_argument("--json", action="store_true", help="print slo.json on stdout, the rest on stderr")
    servers = parser.add_argument_group("servers")
    servers.add_argument("--backend", choices=BACKENDS, default="embedded", help="the servers of the run")
    servers.add_argument("--database-url", metavar="URL", help="external: Postgres (or HARNESS_DATABASE_URL)")
    servers.add_argument("--redis-url", metavar="URL", help="external: Redis (or HARNESS_REDIS_URL)")
    servers.add_argument(
        "--allow-load",
        metavar="DATABASE",
        help="external: put load on the database of this name and its Redis",
    )
    return parser


def _environment(options: argparse.Namespace) -> Environment:
    names = ("database_url", "redis_url", "allow_load")
    if options.backend != "external":
        stray = next((name for name in names if getattr(options, name) is not None), None)
        if stray is not None:
            raise UsageError(
                f"{flag(stray)} has no meaning with --backend {options.backend}. "
                "Leave it out, or choose --backend external."
            )
        return make_environment(options.backend)
    urls = _urls(options)
    # Created first, because it validates the URLs.
    environment = make_environment("external", database_url=urls["database_url"], redis_url=urls["redis_url"])
    database = database_name(urls["database_url"])
    if options.allow_load != database:
        raise UsageError(
            f"This would put load on the external database {database!r} and its Redis. "
            f"To allow this, add --allow-load {shlex.quote(database)}."
        )
    return environment


def _urls(options: argparse.Namespace) -> Mapping[str, str]:
    urls: dict[str, str] = {}
    for name in ("database_url", "redis_url"):
        value = getattr(options, name) or os.environ.get(f"HARNESS_{name.upper()}")
        if not value:
            raise UsageError(
                f"The external backend needs the URLs of its servers: give --{name.replace('_', '-')} URL, "
                f"or set HARNESS_{name.upper()}."
            )
        urls[name] = value
    return urls


class _Number:
    """An argument type: a number between two bounds, both included."""

    kind = "number"

    def __init__(self, lowest: float, highest: float) -> None:
        self._lowest, self._highest = lowest, highest

    def __call__(self, text: str) -> float:
        try:
            number = self.read(text)
        except ValueError:
            number = math.nan
        if not self._lowest <= number <= self._highest:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a {self.kind} from {self._lowest:g} to {self._highest:g}"
            )
        return number

    def read(self, text: str) -> float:
        """The number without a check of the bounds; raises `ValueError`."""
        return float(text)


class _Whole(_Number):
    """An argument type: a whole number between two bounds, both included."""

    kind = "whole number"

    def read(self, text: str) -> int:
        """The whole number; raises `ValueError`."""
        return int(text)
