"""The tasks of the user's own producers: the client submits nothing, and records what arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from harness.checkers import delivery
from harness.checkers.base import Checker
from harness.history import Operation, OperationType, Recorder
from harness.targets.base import TargetSession, TaskSpec
from harness.workloads.derived import DerivedTasks
from harness.workloads.generator import Arrival

# The store is that of a production system.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedTasks(DerivedTasks):
    """The arrivals of `tasks` are the moments at which the client looks, at most two a second."""

    name: str = "observed-tasks"

    @classmethod
    def at(cls, rate: float) -> Self:
        """With as many moments a second as a workload has tasks."""
        made = cls()
        return replace(made, tasks=made.tasks.with_rate(rate))

    def client(self, session: TargetSession, recorder: Recorder) -> ObservingClient:  # type: ignore[override]  # no submissions
        """A client that records each task of others as submitted when it was due."""
        return ObservingClient(session, recorder)

    def checkers(self) -> Mapping[str, Checker]:
        """Those of numbered tasks; what a handler of the user raises is no fault of the queue."""
        return {**self.tasks.checkers(), "delivery": delivery(allow_errors=True)}

    def _change(self, seed: int) -> Callable[[Arrival], Arrival]:
        del seed
        return lambda arrival: arrival


class ObservingClient:
    """Looks for new tasks instead of submitting some; threads may share it."""

    def __init__(self, session: TargetSession, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._lock = threading.Lock()
        self._next = 0.0

    def submit(self, tasks: Sequence[TaskSpec]) -> None:
        """Look for new tasks, unless the last look was just now."""
        del tasks
        with self._lock:
            if time.monotonic() >= self._next:
                self._look()
                self._next = time.monotonic() + _LOOK_SECONDS

    def unfinished(self) -> int:
        """How many of the tasks that arrived are unfinished."""
        return self._session.unfinished()

    def _look(self) -> None:
        for one in self._session.arrived():  # type: ignore[attr-defined]  # of a session that observes
            named = {"activity": one.activity, "name": one.name}
            for kind, more in ((OperationType.INVOKE, {}), (OperationType.OK, named)):
                value = {"task": one.number, **more}
                self._recorder.append(
                    Operation(time=one.due, process="client", type=kind, f="enqueue", value=value)
                )
