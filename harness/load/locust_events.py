"""Adds a load to Locust: importing this module adds its options and the listener that begins with each process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Never

import gevent
import locust
import psycopg.waiting
from locust import stats
from locust.runners import MasterRunner, WorkerRunner

from harness.errors import EXIT_USAGE
from harness.load import locust_csv, locust_signals
from harness.load.locust_judging import JudgingLoad
from harness.load.locust_master import MasterLoad
from harness.load.locust_options import add_options
from harness.load.locust_registry import add_load
from harness.load.locust_run import LocustLoad
from harness.load.locust_worker import WorkerLoad
from harness.masking import masked

_STOP_TIMEOUT_SECONDS = 10.0


def _init(environment: Any, runner: Any, **_: Any) -> None:
    if psycopg.waiting.wait is getattr(psycopg.waiting, "wait_c", None):
        _exit(
            "psycopg was imported before gevent patched it, so each query would block all users. "
            "Start Locust by its own command, without LOCUST_SKIP_MONKEY_PATCH."
        )
    options = environment.parsed_options
    if options.load_shape:
        shapes: Mapping[str, Any] = environment.available_shape_classes or {}
        if options.load_shape not in shapes:
            _exit(f"There is no shape {options.load_shape!r}; choose one of: {', '.join(shapes) or 'none'}.")
        environment.shape_class = shapes[options.load_shape]
        environment.shape_class.runner = runner
    environment.stop_timeout = environment.stop_timeout or _STOP_TIMEOUT_SECONDS
    load = _load_for(environment, runner)
    add_load(environment, load)
    load.register()
    if environment.host:
        environment.host = masked(environment.host)  # shown in the web page and in reports
    locust_signals.listen(environment, runner)
    locust_signals.limit_wait(environment, runner)
    # Locust starts the timer of --run-time next. libev counts from the last run of its loop, before the imports.
    gevent.get_hub().loop.update_now()


def _load_for(environment: Any, runner: Any) -> LocustLoad:
    if isinstance(runner, WorkerRunner):
        return WorkerLoad(environment, runner)
    return (
        MasterLoad(environment, runner)
        if isinstance(runner, MasterRunner)
        else JudgingLoad(environment, runner)
    )


def _exit(sentence: str) -> Never:
    print(f"load: {masked(sentence)}", file=sys.stderr, flush=True)
    sys.exit(EXIT_USAGE)


# Locust's events are untyped. The charts of a short run need more than one point in five seconds.
stats.HISTORY_STATS_INTERVAL_SEC = 1
locust_csv.install()
events: Any = locust.events
events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(_init)
