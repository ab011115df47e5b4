"""The load of a load worker of Locust: its part, and its figures for the master (messages: `locust_master`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gevent
from locust.runners import STATE_SPAWNING

from harness.errors import EXIT_UNKNOWN
from harness.load.figures import Figures
from harness.load.joining import Join
from harness.load.locust_options import LoadOptions
from harness.load.locust_registry import ShapeLike
from harness.load.locust_run import POLL_SECONDS, LocustLoad
from harness.load.locust_test import Assignment, LoadTest, Sender
from harness.load.target import LoadTarget

_PROGRESS_SECONDS = 0.5
_MASTER_SECONDS = 10.0
_SILENT_SECONDS = 5.0


class WorkerLoad(LocustLoad):
    """The load of a load worker."""

    def __init__(self, environment: Any, runner: Any) -> None:
        super().__init__(environment, runner)
        self._part: Assignment | None = None
        self._reported: LoadTest | None = None
        self._left = False
        self._weights: Mapping[str, float] | None = None

    def register(self) -> None:
        super().register()
        self.runner.register_message("harness-begin", self._on_begin)
        self.runner.register_message("harness-join", self._on_join)
        self.runner.register_message("harness-stop", self._on_stop, concurrent=True)
        if self.runner.worker_state == STATE_SPAWNING:
            self._start()  # Locust began before anything could listen

    def users(self, shape: ShapeLike) -> int | None:  # noqa: ARG002 - the master decides
        return None

    def sender(self) -> Sender:
        while not self.ended and self.test is None:
            gevent.sleep(POLL_SECONDS)  # a load that this worker joins, whose part is on its way
        return super().sender()

    def prepare(self, options: LoadOptions, target: LoadTarget) -> None:
        self._left = False
        part, self._part = self._part, None
        if part is None:
            # A load runs. Not a wait: this greenlet receives the messages of the master.
            self.runner.send_message("harness-came")
            return
        self.plan_for((self.environment.available_shape_classes or {}).get(part.shape), part.seconds)
        test = self._reported = self.open(options, target, part)
        test.prepare_to_join()
        gevent.spawn(self._report_progress, test)

    def begin_test(self, test: LoadTest, weights: Mapping[str, float]) -> None:
        if test.part.joins is None:
            super().begin_test(test, weights)
        elif self._weights is None:
            self._weights = weights
            self.runner.send_message("harness-ready")

    def refuse(self, sentence: str, code: int) -> None:  # noqa: ARG002 - the master has the exit code
        # Not an exception: this greenlet receives the messages of the master.
        self.runner.send_message("harness-refused", {"sentence": sentence})

    def quitting(self, **_: Any) -> None:
        if not self.ended:
            # Ctrl-C reaches all processes of a terminal, but SIGTERM may be for this one.
            self.runner.send_message("harness-leaves")
        if self.concluded.wait(_SILENT_SECONDS) or self.ended:
            self.concluded.wait(self.patience())

    def conclude(self) -> None:
        test, self.test = self.test, None
        if test is None:
            return
        try:
            self._send(test, test.finish(self.options().drain))
        finally:
            self._reported = None

    def _send(self, test: LoadTest, figures: Figures) -> None:
        # Locust's own statistics first, so that the master has all of them when it judges.
        data: dict[str, Any] = {}
        self.environment.events.report_to_master.fire(client_id=self.runner.client_id, data=data)
        self.runner.send_message("stats", data)
        self.runner.send_message(
            "harness-figures", {"figures": figures.to_value(), "seconds": test.seconds, "run": test.part.run}
        )

    def _on_begin(self, msg: Any, **_: Any) -> None:
        self._part = Assignment(**msg.data)
        if self._part.joins is None:
            return
        if self.ended or self.test is not None:
            self._part = None  # it ended meanwhile
            return
        self._weights = None
        if self._start():
            self.begin()
        else:
            self.environment.process_exit_code = EXIT_UNKNOWN  # the master ends this process

    def _on_join(self, msg: Any, **_: Any) -> None:
        if (test := self.test) is None:
            return
        join = Join(since=float(msg.data["since"]), size=int(msg.data["size"]))
        if msg.data["client"] != self.runner.client_id:
            test.give_up(join)
        elif self._weights is not None:
            test.join(self._weights, float(msg.data["elapsed"]), join)

    def _on_stop(self, **_: Any) -> None:
        self.runner.stop()  # fires test_stop, which sends the figures

    def _report_progress(self, test: LoadTest) -> None:
        while test is self._reported:
            if test is self.test and self._master_is_silent():
                self._leave(test)
            progress: dict[str, Any] = {
                "elapsed": test.elapsed,
                "waiting": test.waiting,
                # Also the master has to end the load, if it answers again.
                "broken": test.arriving.failure is not None or self._left,
            }
            if self.until:
                progress["recent"] = test.producers.recent.figures().to_value()
            self.runner.send_message("harness-progress", progress)
            gevent.sleep(_PROGRESS_SECONDS)

    def _master_is_silent(self) -> bool:
        last = self.runner.last_heartbeat_timestamp
        # Locust itself goes on for a minute.
        return not self._left and last is not None and time.time() - last > _MASTER_SECONDS

    def _leave(self, test: LoadTest) -> None:
        self._left = True
        self.environment.process_exit_code = EXIT_UNKNOWN
        test.note_gap(f"the load worker {test.part.label} ended its load, because its master was silent")
        test.stop()
