"""Connects a load to Locust: its command line, the start and the end of a test, and the messages between its processes.

A load runs in one process, or in the workers of a master. Importing this module adds the options and the listeners.

    master -> worker   harness-begin     the run, the number of the worker and of all workers
    worker -> master   harness-progress  due arrivals that wait for a user, and whether the schedule is exhausted
    worker -> master   harness-refused   why the worker cannot take part
    master -> worker   harness-stop      end the load, wait for its tasks, and answer with harness-figures
    worker -> master   harness-figures   the figures of the worker, at the end
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import locust
import psycopg.waiting
from locust import stats
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from harness.errors import EXIT_UNKNOWN, EXIT_USAGE, HarnessError, UsageError, first_line
from harness.load import locust_csv, locust_preflight
from harness.load.figures import Figures
from harness.load.locust_options import LoadOptions, add_options
from harness.load.locust_registry import ShapeLike, add_load
from harness.load.locust_test import Assignment, LoadPlan, LoadTest, NoSender, Sender
from harness.load.locust_verdict import EndedLoad, conclude, thresholds_of
from harness.load.producing import EXPECTED
from harness.load.shape import OpenShape
from harness.load.staging import Brake
from harness.load.target import new_run
from harness.load.task_log import ENV_FOLDER, TaskLog
from harness.load.thresholds import Threshold
from harness.masking import masked

_STOP_TIMEOUT_SECONDS = 10.0
_PROGRESS_SECONDS = 0.5
_POLL_SECONDS = 0.05
# What the end of a load worker takes beside its bounds: messages, and a machine that is busy.
_MARGIN_SECONDS = 15.0
_GRACE_SECONDS = 10.0


class LocustLoad:
    """The load of one process of Locust: alone, as a master, or as a load worker."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self._environment = environment
        self._runner = runner
        self._is_master = isinstance(runner, MasterRunner)
        self._is_worker = isinstance(runner, WorkerRunner)
        self._test: LoadTest | None = None
        self._canaries: Sender | None = None
        self._part: Assignment | None = None
        self._plan = LoadPlan(schedule=None, seconds=None)
        self._brake: Brake | None = None
        self._run = ""
        self._thresholds: Sequence[Threshold] = ()
        self._ended = True
        self._began: float | None = None
        self._parts: dict[str, Assignment] = {}
        self._waiting: dict[str, int] = {}
        self._figures: dict[str, tuple[Figures, float]] = {}
        self._gaps: list[str] = []
        self._users = 0
        self._own_host: str | None = environment.host
        self._first_users: int | None = environment.parsed_options.num_users

    def register(self) -> None:
        """Listen to Locust's events and messages."""
        events = self._environment.events
        events.test_start.add_listener(self._start)
        events.spawning_complete.add_listener(self._begin)
        events.test_stopping.add_listener(self._stopping)
        events.test_stop.add_listener(self._stop)
        if self._is_master:
            self._runner.register_message("harness-progress", self._on_progress)
            self._runner.register_message("harness-refused", self._on_refused)
            self._runner.register_message("harness-figures", self._on_figures)
        elif self._is_worker:
            self._runner.register_message("harness-begin", self._on_begin)
            self._runner.register_message("harness-stop", self._on_stop, concurrent=True)
        if not self._is_worker:
            # Locust decides its exit code after this event, and on Ctrl-C it has not stopped the test before.
            events.quitting.add_listener(lambda **_: self._runner.stop())

    def options(self) -> LoadOptions:
        """The options as they are now: the web page may have changed them."""
        return LoadOptions.of(self._environment.parsed_options, self._environment.host, self._own_host)

    def sender(self) -> Sender:
        """What sends the tasks of a new user."""
        return self._canaries or self._test or NoSender()

    def users(self, shape: ShapeLike) -> int | None:
        """The number of users that a shape wants now, None at the end of the load."""
        elapsed = 0.0 if self._began is None else time.monotonic() - self._began
        waiting = sum(self._waiting.values())
        if self._test is not None and not self._is_master:
            waiting = self._test.arriving.waiting
        end = self._plan.seconds
        over = end is not None and elapsed >= end
        if end is not None and over and (not waiting or elapsed >= end + _GRACE_SECONDS):
            return None
        if self._began is None:
            given = self._first_users or 0
            self._users = given if given > 1 else shape.first_users()
        elif waiting:
            self._users = min(shape.most_users, max(2 * self._users, self._users + waiting))
        return self._users

    # The start

    def _start(self, **_: Any) -> None:
        try:
            self._prepare()
        except (HarnessError, *EXPECTED) as error:
            usage = isinstance(error, UsageError)
            sentence = str(error) if isinstance(error, HarnessError) else _servers(error)
            self._refuse(sentence, EXIT_USAGE if usage else EXIT_UNKNOWN)

    def _prepare(self) -> None:
        self._ended, self._began = False, None
        self._parts, self._waiting, self._figures, self._gaps = {}, {}, {}, []
        options = self.options()
        target = options.target()
        if self._is_worker:
            if self._part is None:
                raise HarnessError("This load worker joined while a load runs; start it before the load.")
            part, self._part = self._part, None
            shapes = self._environment.available_shape_classes or {}
            self._plan = plan_of(shapes.get(part.shape), part.seconds)
        else:
            shape = self._environment.shape_class
            self._plan = plan_of(shape, self._environment.parsed_options.run_time)
            name = None if shape is None else type(shape).__name__
            part = Assignment(run=new_run(), shape=name, seconds=self._plan.seconds)
            self._thresholds = thresholds_of(self._environment)
            preflight = locust_preflight.Preflight(self._environment, options, target, self._plan, part.run)
            self._canaries = preflight.canaries
            try:
                clients = preflight.run()
            finally:
                self._canaries = None
            self._brake = Brake(clients, options.brake, self._brake_pulled)
            self._brake.start()
        self._run = part.run
        if self._is_master:
            ready = [
                *self._runner.clients.ready,
                *self._runner.clients.running,
                *self._runner.clients.spawning,
            ]
            for number, client in enumerate(ready):
                self._parts[client.id] = replace(part, shard=number, shards=len(ready))
                self._runner.send_message("harness-begin", self._parts[client.id].to_value(), client.id)
            return
        folder = os.environ.get(ENV_FOLDER)
        self._test = LoadTest(
            options,
            target,
            self._plan,
            part,
            log=TaskLog(Path(folder) if folder else None),
            report=self._environment.events.request.fire,
        )
        self._test.start(locust_preflight.queues(self._environment, options))
        if self._is_worker:
            gevent.spawn(self._report_progress, self._test)

    def _begin(self, **_: Any) -> None:
        if self._ended:
            return
        if self._began is None:
            self._began = time.monotonic()
        if self._test is not None:
            self._test.begin(locust_preflight.weights(self._environment, self._runner))

    def _refuse(self, sentence: str, code: int) -> None:
        """End the test before it begins; the sentence is the verdict."""
        self._ended = True
        self._end_brake()
        print(f"load: {masked(sentence)}", file=sys.stderr, flush=True)
        if self._is_worker:
            # Not an exception: this greenlet receives the messages of the master.
            self._runner.send_message("harness-refused", {"sentence": masked(sentence)})
            return
        self._environment.process_exit_code = code
        self._runner.log_exception("load", masked(sentence), "")
        self._end_test()
        raise gevent.GreenletExit  # ends the start of the test; Locust takes no other exception as an end

    def _end_test(self) -> None:
        options = self._environment.parsed_options
        gevent.spawn(self._runner.quit if options.headless else self._runner.stop)

    def _brake_pulled(self, sentence: str) -> None:
        self._gaps.append(sentence)
        self._end_test()

    def _end_brake(self) -> None:
        if self._brake is not None:
            self._brake.end()
            self._brake = None

    # The end

    def _stopping(self, **_: Any) -> None:
        if self._test is not None:
            self._test.stop()

    def _stop(self, **_: Any) -> None:
        if self._ended:
            return
        self._ended, self._began = True, None
        self._end_brake()
        if self._is_worker:
            # The greenlet that called this one has to go on receiving messages.
            gevent.spawn(self._send_figures)
        elif self._is_master:
            self._await_figures()
            self._judge()
        elif self._test is not None:
            self._figures["local"] = (self._test.finish(self.options().drain), self._test.seconds)
            self._judge()
        self._test = None if not self._is_worker else self._test

    def _send_figures(self) -> None:
        test, self._test = self._test, None
        if test is None:
            return
        figures = test.finish(self.options().drain)
        # Locust's own statistics first, so that the master has all of them when it judges.
        data: dict[str, Any] = {}
        self._environment.events.report_to_master.fire(client_id=self._runner.client_id, data=data)
        self._runner.send_message("stats", data)
        self._runner.send_message(
            "harness-figures", {"figures": figures.to_value(), "seconds": test.seconds, "run": test.part.run}
        )

    def _await_figures(self) -> None:
        within = self._environment.stop_timeout + self.options().drain + _MARGIN_SECONDS
        deadline = time.monotonic() + within
        for client in self._parts:
            self._runner.send_message("harness-stop", None, client)
        while self._missing() and time.monotonic() < deadline:
            gevent.sleep(_POLL_SECONDS)

    def _missing(self) -> bool:
        """Whether figures may still come."""
        clients = self._runner.clients
        return any(
            client not in self._figures and not (client in clients and clients[client].state == STATE_MISSING)
            for client in self._parts
        )

    def _judge(self) -> None:
        self._environment.process_exit_code = EXIT_UNKNOWN  # if the judgement itself fails
        parts = list(self._figures.values())
        judged = EndedLoad(
            run=self._run,
            figures=[figures for figures, _ in parts],
            seconds=max((seconds for _, seconds in parts), default=0.0),
            plan=self._plan,
            workers_lost=[
                f"{part.shard + 1} of {part.shards}"
                for client, part in self._parts.items()
                if client not in self._figures
            ],
            gaps=self._gaps,
            lateness=self.options().lateness,
            processes=max(1, len(self._parts)),
        )
        self._environment.process_exit_code = conclude(judged, self._thresholds, self.options().report)

    # Messages

    def _on_begin(self, msg: Any, **_: Any) -> None:
        self._part = Assignment(**msg.data)

    def _on_stop(self, **_: Any) -> None:
        self._runner.stop()  # fires test_stop, which sends the figures

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._waiting[msg.node_id] = int(msg.data["waiting"])

    def _on_refused(self, msg: Any, **_: Any) -> None:
        self._gaps.append(f"a load worker cannot take part: {msg.data['sentence']}")
        self._parts.pop(msg.node_id, None)
        self._end_test()

    def _on_figures(self, msg: Any, **_: Any) -> None:
        if msg.data["run"] == self._run:
            self._figures[msg.node_id] = (Figures.from_value(msg.data["figures"]), float(msg.data["seconds"]))

    def _report_progress(self, test: LoadTest) -> None:
        while test is self._test:
            self._runner.send_message("harness-progress", {"waiting": test.arriving.waiting})
            gevent.sleep(_PROGRESS_SECONDS)


def plan_of(shape: Any, limit: float | None) -> LoadPlan:
    """The plan of a shape that ends after `limit` seconds, None for no limit; raises `UsageError`."""
    if not isinstance(shape, OpenShape):
        return LoadPlan(schedule=None, seconds=None)
    schedule = shape.schedule()
    ends = [end for end in (schedule.seconds, shape.end(limit)) if end is not None]
    return LoadPlan(schedule=schedule, seconds=min(ends, default=None))


def _servers(error: BaseException) -> str:
    return f"The servers cannot be used: {first_line(error).rstrip('.')}."


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
    load = LocustLoad(environment, runner)
    add_load(environment, load)
    load.register()
    if environment.host:
        environment.host = masked(environment.host)  # shown in the web page and in reports
    # Locust starts the timer of --run-time next. libev counts from the last run of its loop, before the imports.
    gevent.get_hub().loop.update_now()


def _exit(sentence: str) -> None:
    print(f"load: {masked(sentence)}", file=sys.stderr, flush=True)
    sys.exit(EXIT_USAGE)


# Locust's events are untyped. The charts of a short run need more than one point in five seconds.
stats.HISTORY_STATS_INTERVAL_SEC = 1
locust_csv.install()
events: Any = locust.events
events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(_init)
