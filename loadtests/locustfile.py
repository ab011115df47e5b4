"""The locustfile: `locust -f loadtests/locustfile.py --host redis://... --load-profile smoke`, with DATABASE_URL set.

`--host` replaces REDIS_URL. The pool is started separately by `agentexec worker loadtests.app:pool` with the same
DATABASE_URL, REDIS_URL and AGENTEXEC_QUEUE_NAME. `python -m loadtests.run` does all of this.
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
from harness.errors import EXIT_UNKNOWN, EXIT_USAGE, first_line
from harness.masking import masked
from loadtests.client import EXPECTED, LoadClient
from loadtests.profiles import PROFILES, profile
from loadtests.submission_log import ENV_FOLDER, SubmissionLog
from loadtests.users import EnqueueingUser, Load

__all__ = ["EnqueueingUser"]

_USERS_PER_WORKER = 1_000_000

# The charts of a short run need more than one point in five seconds.
stats.HISTORY_STATS_INTERVAL_SEC = 1


def _end(sentence: str, code: int) -> Never:
    """Print a sentence and exit. Locust would log an exception as a traceback and continue the test."""
    print(f"locustfile: {masked(sentence)}", file=sys.stderr, flush=True)
    sys.exit(code)


def _options(parser: Any) -> None:
    parser.add_argument(
        "--load-profile", choices=tuple(PROFILES), default="smoke", help="arrivals and work of the tasks"
    )
    parser.add_argument(
        "--load-drain", type=float, default=20.0, help="seconds to wait for the tasks after the last arrival"
    )


class LoadTest:
    """Connects the load to Locust's events, from the start of a test to its end."""

    def __init__(self, environment: Any, runner: Any, settings: Settings) -> None:
        self._environment = environment
        self._runner = runner
        self._settings = settings
        self._load: Load | None = None

    def start(self, **_: Any) -> None:
        """Connect and create the state that all users share."""
        chosen = profile(self._environment.parsed_options.load_profile)
        folder = os.environ.get(ENV_FOLDER)
        client = LoadClient(
            lambda: ax.Client(settings=self._settings),
            producers=chosen.producers,
            max_tasks=chosen.max_tasks,
            log=SubmissionLog(Path(folder) if folder else None),
            report=self._environment.events.request.fire,
        )
        try:
            client.start()
        except EXPECTED as error:
            _end(f"The servers cannot be used: {first_line(error).rstrip('.')}.", EXIT_UNKNOWN)
        index = self._runner.worker_index if isinstance(self._runner, WorkerRunner) else 0
        EnqueueingUser.load = self._load = Load(
            profile=chosen,
            client=client,
            on_cap=self._cap,
            first=index * _USERS_PER_WORKER,
        )

    def stopping(self, **_: Any) -> None:
        """Prevent further tasks."""
        if self._load is not None:
            self._load.stopped.set()
            self._load.client.note_end()

    def stop(self, **_: Any) -> None:
        """Wait for the running tasks, so that their latencies count."""
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
            "psycopg was imported before gevent patched it, so each query would block all users. "
            "Start Locust by its own command, without LOCUST_SKIP_MONKEY_PATCH.",
            EXIT_USAGE,
        )
    try:
        settings = load_settings(redis_url=environment.host)
        settings.require_database_url()
        address = settings.require_redis_url()
    except ax.ConfigurationError as error:
        _end(f"{error} (--host replaces REDIS_URL.)", EXIT_USAGE)
    environment.host = masked(address)  # shown in the report
    if not isinstance(runner, MasterRunner):  # a master enqueues nothing
        test = LoadTest(environment, runner, settings)
        environment.events.test_start.add_listener(test.start)
        environment.events.test_stopping.add_listener(test.stopping)
        environment.events.test_stop.add_listener(test.stop)
    # Locust starts the timer of --run-time next. libev counts from the last run of its loop, before the imports.
    gevent.get_hub().loop.update_now()


# Locust's events are untyped.
events: Any = locust.events
events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_begin)
