"""The load of a load worker of Locust: its part, and its figures for the master (messages: `locust_master`)."""

from __future__ import annotations

import time
from typing import Any

import gevent

from harness.errors import EXIT_UNKNOWN, HarnessError
from harness.load.figures import Figures
from harness.load.locust_options import LoadOptions
from harness.load.locust_registry import ShapeLike
from harness.load.locust_run import LocustLoad
from harness.load.locust_test import Assignment, LoadTest
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

    def register(self) -> None:
        super().register()
        self.runner.register_message("harness-begin", self._on_begin)
        self.runner.register_message("harness-stop", self._on_stop, concurrent=True)

    def users(self, shape: ShapeLike) -> int | None:  # noqa: ARG002 - the master decides
        return None

    def prepare(self, options: LoadOptions, target: LoadTarget) -> None:
        if self._part is None:
            raise HarnessError(
                "This load worker joined while a load runs; start all before it, with --expect-workers at the master."
            )
        part, self._part = self._part, None
        self.plan_for((self.environment.available_shape_classes or {}).get(part.shape), part.seconds)
        self._left = False
        test = self._reported = self.open(options, target, part)
        gevent.spawn(self._report_progress, test)

    def refuse(self, sentence: str, code: int) -> None:  # noqa: ARG002 - the master has the exit code
        # Not an exception: this greenlet receives the messages of the master.
        self.runner.send_message("harness-refused", {"sentence": sentence})

    def quitting(self, **_: Any) -> None:
        # Ctrl-C reaches all processes of a terminal, and the master stops the load of this one.
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
