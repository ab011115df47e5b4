"""What ends the workload of a run early, and the gates: a fault whose task was refused has nothing to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from harness.gate import GateKeeper
from harness.history.figures import counted
from harness.targets.base import Submission, TargetSession, TaskSpec


class StopEvent(threading.Event):
    """Set when the workload of a run has to end: from then on, no fault waits for a handler at a gate."""

    def __init__(self, gates: GateKeeper) -> None:
        super().__init__()
        self._gates = gates

    def set(self) -> None:
        super().set()
        self._gates.give_up_all("the run ended before a handler was there")


class WatchedSession:
    """The session of a target; gives up the gate of a task that the target certainly refused.

    If the target acknowledged no task yet, any error counts. `none_taken` is then the sentence that ends the run, and
    `stop` is called.
    """

    def __init__(self, session: TargetSession, gates: GateKeeper) -> None:
        self._session = session
        self._gates = gates
        self._lock = threading.Lock()
        self._failed = 0
        self._acknowledged = False
        self._first = ""
        self.none_taken: str | None = None
        self.stop: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the session."""
        return getattr(self._session, name)

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks, and note which were refused."""
        answers = list(self._session.submit(tasks))
        gates = {task.number: task.gate for task in tasks}
        with self._lock:
            for answer in answers:
                self._note(answer, gates.get(answer.number))
        return answers

    def check(self) -> None:
        """To be called once all tasks are answered: notes if the target acknowledged none of them."""
        with self._lock:
            if self._failed and not self._acknowledged:
                self._none()

    def _note(self, answer: Submission, gate: str | None) -> None:
        if answer.activity is not None:
            self._acknowledged = True
            return
        self._failed += 1
        self._first = self._first or f"task {answer.number}: {answer.error}"
        if gate is None or not (answer.certain or not self._acknowledged):
            return
        self._gates.give_up(gate, f"its task {answer.number} was not submitted: {answer.error}")
        if not self._acknowledged:
            self._none()

    def _none(self) -> None:
        self.none_taken = (
            f"The target acknowledged none of {counted(self._failed, 'task')}; the first, {self._first}. "
            "Run `harness target check` and see the logs of its client and its pools."
        )
        self.stop()
