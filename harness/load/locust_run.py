"""The load of one process of Locust: the start and the end of a test, and the messages between the processes.

master -> worker   harness-begin     the run, the number of the worker and of all workers
worker -> master   harness-progress  seconds since the worker began the load, and the arrivals that wait for a user
worker -> master   harness-refused   why the worker cannot take part
master -> worker   harness-stop      end the load, wait for its tasks, and answer with harness-figures
worker -> master   harness-figures   the figures of the worker, at the end
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

import agentexec as ax
from harness.environments.deadlocks import DeadlockWatch
from harness.errors import EXIT_UNKNOWN, EXIT_USAGE, HarnessError, UsageError
from harness.load import locust_preflight
from harness.load.figures import Figures, merged
from harness.load.gauge_sources import gauges_of
from harness.load.gauges import LoadGauges
from harness.load.locust_options import LoadOptions
from harness.load.locust_registry import ShapeLike
from harness.load.locust_test import Assignment, LoadPlan, LoadTest, NoSender, Sender
from harness.load.locust_verdict import EndedLoad, conclude, thresholds_of
from harness.load.producing import EXPECTED
from harness.load.resources import Sampled
from harness.load.shape import OpenShape
from harness.load.staging import Brake
from harness.load.target import LoadTarget, new_run
from harness.load.task_log import ENV_FOLDER, TaskLog
from harness.load.thresholds import Threshold, ThresholdOutcome, evaluate, parse_conditions
from harness.masking import masked

_PROGRESS_SECONDS = 0.5
_MASTER_SECONDS = 10.0
_POLL_SECONDS = 0.05
# How long arrivals wait for the first user of a process; after that they are due without one.
_USERS_SECONDS = 10.0
# What the end of a load worker takes beside its bounds: messages, and a machine that is busy.
_MARGIN_SECONDS = 15.0
_SILENT_SECONDS = 5.0
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
        self._clients: Mapping[str, ax.Client] = {}
        self._run = ""
        self._thresholds: Sequence[Threshold] = ()
        self._ended = True
        self._concluded = threading.Event()
        self._concluded.set()
        self._parts: dict[str, Assignment] = {}
        self._reported: dict[str, tuple[float, int]] = {}
        self._recent: dict[str, Figures] = {}
        self._until: Sequence[Threshold] = ()
        self._figures: dict[str, tuple[Figures, float]] = {}
        self._gaps: list[str] = []
        self._gauges: LoadGauges | None = None
        self._deadlocks: DeadlockWatch | None = None
        self._users = 0
        self._own_host: str | None = environment.host
        self._first_users: int | None = environment.parsed_options.num_users
        # Locust's own timer begins before the preflight; it does not begin if there is no time.
        self._run_time: float | None = None
        if environment.parsed_options.headless and not self._is_worker:
            self._run_time, environment.parsed_options.run_time = environment.parsed_options.run_time, None

    def register(self) -> None:
        """Listen to Locust's events and messages."""
        events = self._environment.events
        events.test_start.add_listener(self._start)
        events.spawning_complete.add_listener(self._begin)
        events.test_stopping.add_listener(self._stopping)
        events.test_stop.add_listener(self._stop)
        # Locust decides its exit code after this event, and on Ctrl-C it has not stopped the test before.
        events.quitting.add_listener(self._quitting)
        if self._is_master:
            self._runner.register_message("harness-progress", self._on_progress)
            self._runner.register_message("harness-refused", self._on_refused)
            self._runner.register_message("harness-figures", self._on_figures)
        elif self._is_worker:
            self._runner.register_message("harness-begin", self._on_begin)
            self._runner.register_message("harness-stop", self._on_stop, concurrent=True)

    def options(self) -> LoadOptions:
        """The options as they are now: the web page may have changed them."""
        return LoadOptions.of(self._environment.parsed_options, self._environment.host, self._own_host)

    def sender(self) -> Sender:
        """What sends the tasks of a new user."""
        return self._canaries or self._test or NoSender()

    def users(self, shape: ShapeLike) -> int | None:
        """The number of users that a shape wants now, None at the end of the load."""
        elapsed, waiting = self._progress()
        end = self._plan.seconds
        over = end is not None and elapsed >= end
        if end is not None and over and (not waiting or elapsed >= end + _GRACE_SECONDS):
            return None
        if elapsed and self._until and all(self._condition_holds()):
            print(f"load: it ends because {shape.until} holds.", flush=True)
            return None
        if not elapsed:
            given = self._first_users or 0
            self._users = given if given > 1 else shape.first_users()
        elif waiting:
            self._users = min(shape.most_users, max(2 * self._users, self._users + waiting))
            # The next growth needs a new report of what still waits.
            self._reported = {worker: (since, 0) for worker, (since, _) in self._reported.items()}
        return self._users

    def _condition_holds(self) -> Iterator[bool]:
        recent = [self._test.producers.recent.figures()] if self._test is not None else self._recent.values()
        rows = merged(recent).all_rows(planned=0.0, seconds=0.0)
        for result in evaluate(self._until, rows):
            yield result.outcome is ThresholdOutcome.MET

    def _progress(self) -> tuple[float, int]:
        """Seconds since the load began, 0 before all processes began it, and the arrivals that wait for a user."""
        if self._test is not None:
            return self._test.arriving.elapsed(), self._test.waiting
        clients = self._runner.clients if self._is_master else {}
        alive = [one for one in self._parts if one in clients and not self._is_missing(one)]
        found = [self._reported.get(one, (0.0, 0)) for one in alive]
        return min((elapsed for elapsed, _ in found), default=0.0), sum(waiting for _, waiting in found)

    # The start

    def _start(self, **_: Any) -> None:
        # Whatever ends the test before it is judged, such as a --run-time that is shorter than the preflight.
        self._environment.process_exit_code = None if self._is_worker else EXIT_UNKNOWN
        try:
            self._prepare()
        except (HarnessError, *EXPECTED) as error:
            usage = isinstance(error, UsageError)
            self._refuse(locust_preflight.refusal(error), EXIT_USAGE if usage else EXIT_UNKNOWN)

    def _prepare(self) -> None:
        self._ended = False
        self._concluded.clear()
        self._parts, self._reported, self._recent, self._figures, self._gaps = {}, {}, {}, {}, []
        options = self.options()
        target = options.target()
        part = self._assigned() if self._is_worker else self._planned(options, target)
        self._run = part.run
        if self._is_master:
            self._assign(part)
        else:
            self._open(options, target, part)

    def _assigned(self) -> Assignment:
        """The part that the master gave to this load worker."""
        if self._part is None:
            raise HarnessError("This load worker joined while a load runs; start it before the load.")
        part, self._part = self._part, None
        self._plan_for((self._environment.available_shape_classes or {}).get(part.shape), part.seconds)
        return part

    def _planned(self, options: LoadOptions, target: LoadTarget) -> Assignment:
        """The whole of a new load, after its preflight."""
        shape = self._environment.shape_class
        self._plan_for(shape, self._run_time or self._environment.parsed_options.run_time)
        self._thresholds = thresholds_of(self._environment)
        run = new_run()
        preflight = locust_preflight.Preflight(self._environment, options, target, self._plan, run)
        self._canaries = preflight.canaries  # until this returns or raises
        self._clients, self._canaries = preflight.run(), None
        self._gauges = gauges_of(target, list(self._clients), lambda: self._progress()[0])
        self._gauges.start()
        self._brake = Brake(self._clients, options.brake, self._brake_pulled, self._gauges.note_depth)
        self._brake.start()
        self._deadlocks = DeadlockWatch(target.database_url)
        name = None if shape is None else type(shape).__name__
        return Assignment(run=run, shape=name, seconds=self._plan.seconds)

    def _plan_for(self, shape: Any, limit: float | None) -> None:
        self._plan = locust_preflight.plan_of(shape, limit)
        until = shape.until if isinstance(shape, OpenShape) else None
        self._until = parse_conditions(until) if until else ()

    def _assign(self, whole: Assignment) -> None:
        """Give each load worker its part."""
        clients = self._runner.clients
        ready = [*clients.ready, *clients.running, *clients.spawning]
        for number, client in enumerate(ready):
            self._parts[client.id] = replace(whole, shard=number, shards=len(ready))
            self._runner.send_message("harness-begin", self._parts[client.id].to_value(), client.id)

    def _open(self, options: LoadOptions, target: LoadTarget, part: Assignment) -> None:
        """Connect this process to the servers."""
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
        if self._test is not None:
            gevent.spawn(self._begin_with_users, self._test)
        if self._run_time is not None and not self._plan.schedule:
            run_time, self._run_time = self._run_time, None
            gevent.spawn_later(run_time, self._end_test)

    def _begin_with_users(self, test: LoadTest) -> None:
        """Begin once this process has users: a master says that all are spawned after a second in any case."""
        deadline = time.monotonic() + _USERS_SECONDS
        while not (weights := locust_preflight.weights(self._environment, self._runner)):
            if test is not self._test or time.monotonic() > deadline:
                break
            gevent.sleep(_POLL_SECONDS)
        test.begin(weights or locust_preflight.weights(self._environment, None))

    def _refuse(self, sentence: str, code: int) -> None:
        """End the test before it begins; the sentence is the verdict."""
        self._ended, self._canaries = True, None
        self._concluded.set()
        self._release()
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
        gevent.spawn(self._runner.quit if self._environment.parsed_options.headless else self._runner.stop)

    def _brake_pulled(self, sentence: str) -> None:
        self._gaps.append(sentence)
        self._end_test()

    def _release(self) -> None:
        if self._brake is not None:
            self._brake.end()
            self._brake = None
        if self._gauges is not None:
            self._gauges.end()
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    # The end

    def _quitting(self, **_: Any) -> None:
        if not self._is_worker:
            self._runner.stop()
            self._stop()  # Ctrl-C may have ended the greenlet in which Locust stopped the test
        # Ctrl-C reaches all processes of a terminal, and the master stops the load of this one.
        elif self._concluded.wait(_SILENT_SECONDS) or self._ended:
            self._concluded.wait(self._patience())

    def _stopping(self, **_: Any) -> None:
        if self._test is not None:
            self._test.stop()

    def _stop(self, **_: Any) -> None:
        if self._ended:
            # Locust ends when this call returns, and the test may be stopped twice at the same time.
            self._concluded.wait()
            return
        self._ended = True
        self._release()
        # Not in this greenlet: Locust kills it on Ctrl-C, and in a load worker it has to receive messages.
        gevent.spawn(self._conclude).link(lambda _: self._concluded.set())
        if not self._is_worker:
            self._concluded.wait()

    def _conclude(self) -> None:
        test, self._test = self._test, None
        if self._is_worker:
            self._send_figures(test)
            return
        if self._is_master and self._parts:
            self._await_figures()
        elif test is not None:
            self._figures["local"] = (test.finish(self.options().drain), test.seconds)
        else:
            print("load: The load was stopped before it began; nothing is measured.", file=sys.stderr)
            return
        self._judge()

    def _send_figures(self, test: LoadTest | None) -> None:
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
        deadline = time.monotonic() + self._patience()
        if silent := [client for client in self._parts if self._is_missing(client)]:
            self._gaps.append(f"the master lost contact with {len(silent)} load workers")
        for client in self._parts:
            self._runner.send_message("harness-stop", None, client)
        patience = time.monotonic() + _SILENT_SECONDS  # for workers that a busy machine made silent
        while (missing := [one for one in self._parts if one not in self._figures]) and (
            time.monotonic() < patience
            or (time.monotonic() < deadline and not all(map(self._is_missing, missing)))
        ):
            gevent.sleep(_POLL_SECONDS)

    def _patience(self) -> float:
        """The seconds until every process has ended its load."""
        return float(self._environment.stop_timeout + self.options().drain + _MARGIN_SECONDS)

    def _is_missing(self, client: str) -> bool:
        """Whether a load worker has stopped to send heartbeats."""
        clients = self._runner.clients
        return client in clients and clients[client].state == STATE_MISSING

    def _judge(self) -> None:
        parts = list(self._figures.values())
        judged = EndedLoad(
            run=self._run,
            figures=[figures for figures, _ in parts],
            seconds=max((seconds for _, seconds in parts), default=0.0),
            plan=self._plan,
            workers_lost=[part.label for client, part in self._parts.items() if client not in self._figures],
            gaps=self._gaps,
            sampled=self._gauges.sampled() if self._gauges is not None else Sampled(),
            deadlocks=self._deadlocks.found().count if self._deadlocks is not None else None,
            lateness=self.options().lateness,
            processes=max(1, len(self._parts)),
            runner=self._runner,
        )
        self._environment.process_exit_code = conclude(judged, self._thresholds, self.options().report)

    # Messages

    def _on_begin(self, msg: Any, **_: Any) -> None:
        self._part = Assignment(**msg.data)

    def _on_stop(self, **_: Any) -> None:
        self._runner.stop()  # fires test_stop, which sends the figures

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._reported[msg.node_id] = (float(msg.data["elapsed"]), int(msg.data["waiting"]))
        if "recent" in msg.data:
            self._recent[msg.node_id] = Figures.from_value(msg.data["recent"])

    def _on_refused(self, msg: Any, **_: Any) -> None:
        self._gaps.append(f"a load worker cannot take part: {msg.data['sentence']}")
        self._parts.pop(msg.node_id, None)
        self._end_test()

    def _on_figures(self, msg: Any, **_: Any) -> None:
        if msg.data["run"] == self._run:
            self._figures[msg.node_id] = (Figures.from_value(msg.data["figures"]), float(msg.data["seconds"]))

    def _report_progress(self, test: LoadTest) -> None:
        while test is self._test:
            last = self._runner.last_heartbeat_timestamp
            # Locust itself goes on for a minute.
            if last is not None and time.time() - last > _MASTER_SECONDS:
                test.stop()
                return
            progress: dict[str, Any] = {"elapsed": test.arriving.elapsed(), "waiting": test.waiting}
            if self._until:
                progress["recent"] = test.producers.recent.figures().to_value()
            self._runner.send_message("harness-progress", progress)
            gevent.sleep(_PROGRESS_SECONDS)
