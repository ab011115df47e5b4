"""What Locust runs: `locust -f loadtests/locustfile.py --host redis://... --load-profile smoke`, with DATABASE_URL set.

The pool is somebody else's: `agentexec worker loadtests.app:pool` with the same DATABASE_URL, REDIS_URL and
AGENTEXEC_QUEUE_NAME. `--host` stands for REDIS_URL. `python -m loadtests.run` does all of it by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Never

import gevent
import locust
import psycopg.waiting
from locust import stats
from locust.runners import MasterRunner, WorkerRunner

import agentexec as ax
from agentexec.config import Settings, load_settings
from harness.errors import EXIT_UNKNOWN, EXIT_USAGE
from harness.masking import masked
from loadtests.client import EXPECTED, LoadClient
from loadtests.ledger import ENV_LEDGER, SubmissionLog
from loadtests.profiles import PROFILES, profile
from loadtests.users import EnqueueingUser, Load

__all__ = ["EnqueueingUser"]

_USERS_PER_WORKER = 1_000_000

stats.HISTORY_STATS_INTERVAL_SEC = 1  # the charts of a short run need more than a point in five seconds


def _end(sentence: str, code: int) -> Never:
    """Sentence and exit code; an exception would be logged by Locust as a traceback, and the test would go on."""
    print(f"locustfile: {masked(sentence)}", file=sys.stderr, flush=True)
    sys.exit(code)


def _options(parser: Any) -> None:
    parser.add_argument(
        "--load-profile", choices=tuple(PROFILES), default="smoke", help="arrivals and work of the tasks"
    )
    parser.add_argument(
        "--load-drain", type=float, default=20.0, help="seconds to wait for the tasks after the last arrival"
    )


class _Test:
    """Ties the load to Locust's events, from the start of a test to its end."""

    def __init__(self, environment: Any, runner: Any, settings: Settings) -> None:
        self._environment = environment
        self._runner = runner
        self._settings = settings
        self._load: Load | None = None

    def start(self, **_: Any) -> None:
        """Connect, and give the users what they share."""
        chosen = profile(self._environment.parsed_options.load_profile)
        folder = os.environ.get(ENV_LEDGER)
        client = LoadClient(
            lambda: ax.Client(settings=self._settings),
            producers=chosen.producers,
            max_tasks=chosen.max_tasks,
            ledger=SubmissionLog(Path(folder) if folder else None),
            report=self._environment.events.request.fire,
        )
        try:
            client.start()
        except EXPECTED as error:
            _end(f"The servers cannot be used: {str(error).splitlines()[0]}.", EXIT_UNKNOWN)
        index = self._runner.worker_index if isinstance(self._runner, WorkerRunner) else 0
        EnqueueingUser.load = self._load = Load(
            profile=chosen,
            client=client,
            on_cap=self._cap,
            first=index * _USERS_PER_WORKER,
        )

    def stopping(self, **_: Any) -> None:
        """Let no user begin another task."""
        if self._load is not None:
            self._load.stopped.set()
            self._load.client.note_end()

    def stop(self, **_: Any) -> None:
        """Wait for the tasks that are under way, so that their latencies count."""
        load, self._load = self._load, None
        if load is not None:
            load.client.drain(self._environment.parsed_options.load_drain)
            load.client.close()

    def _cap(self) -> None:
        if self._load is not None and not self._load.stopped.is_set():
            self._load.stopped.set()
            print(f"The cap of {self._load.profile.max_tasks} tasks is reached.", flush=True)


def _begin(environment: Any, runner: Any, **_: Any) -> None:
    if psycopg.waiting.wait is getattr(psycopg.waiting, "wait_c", None):
        _end(
            "psycopg was imported before gevent had patched it and would stop all users at each query. "
            "Start Locust by its own command, without LOCUST_SKIP_MONKEY_PATCH.",
            EXIT_USAGE,
        )
    try:
        settings = load_settings(redis_url=environment.host)
        settings.require_database_url()
        address = settings.require_redis_url()
    except ax.ConfigurationError as error:
        _end(f"{error} (--host stands for REDIS_URL.)", EXIT_USAGE)
    environment.host = masked(address)  # shown in the report, which is passed on
    if not isinstance(runner, MasterRunner):  # a master enqueues nothing
        test = _Test(environment, runner, settings)
        environment.events.test_start.add_listener(test.start)
        environment.events.test_stopping.add_listener(test.stopping)
        environment.events.test_stop.add_listener(test.stop)
    # Locust starts the timer of --run-time next, and libev counts from when its loop last ran: before the imports.
    gevent.get_hub().loop.update_now()


# Locust's events are untyped.
events: Any = locust.events
events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_begin)
