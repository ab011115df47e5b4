"""Numbered tasks of which some fail at first, wait, are canceled, or are submitted again with an idempotency key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Self

from harness.checkers import cancels, charges, delays, keys, retries
from harness.checkers.base import Checker
from harness.draws import seeded
from harness.errors import HarnessError, describe_error
from harness.history import OperationType, Recorder
from harness.history.names import CANCEL
from harness.targets.base import Submission, TargetSession, TaskFeature, TaskSpec
from harness.workloads.derived import DerivedTasks
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient

_DELAYS = (0.2, 1.5)
_CANCEL_AFTER = (0.0, 0.3)
# So many of the canceled tasks would work for so long: what ignores its cancel is seen.
_LONG_SHARE, _LONG_SECONDS = 0.25, 5.0
_CHECKERS: Mapping[TaskFeature, Mapping[str, Callable[[], Checker]]] = {
    TaskFeature.FAILS: {"charges": charges, "retries": retries},
    TaskFeature.DELAY: {"delays": delays},
    TaskFeature.CANCEL: {"cancels": cancels},
    TaskFeature.KEY: {"keys": keys},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VariedTasks(DerivedTasks):
    """The share `varied` (0 to 1) of the tasks has one of `features` each, in equal parts.

    They fail once or twice, wait between 0.2 and 1.5 s, are canceled up to 0.3 s after the answer to their submission
    (a quarter of these would work for 5 s), or are submitted twice. A task with a gate has none of them.
    """

    name: str = "varied-tasks"
    varied: float = 0.6
    features: tuple[TaskFeature, ...] = tuple(TaskFeature)

    def with_features(self, features: Sequence[TaskFeature]) -> Self:
        """The same tasks with these features only."""
        return replace(self, features=tuple(features))

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that also submits again and cancels, and records both."""
        return VariedClient(session, recorder)

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks, and those of the features."""
        made = {name: make() for one in self.features for name, make in _CHECKERS[one].items()}
        return {**self.tasks.checkers(), **made}

    def _change(self, seed: int) -> Callable[[Arrival], Arrival]:
        def varied(arrival: Arrival) -> Arrival:
            task = arrival.task
            # Seeded by the number of the task, so that both generators agree on it.
            draw = seeded(seed, "varied-tasks", task.number)
            if task.gate is not None or draw.random() >= self.varied:
                return arrival
            return replace(arrival, task=_with(task, draw.choice(self.features), draw))

        return varied


def _with(task: TaskSpec, feature: TaskFeature, draw: Random) -> TaskSpec:
    match feature:
        case TaskFeature.FAILS:
            return replace(task, fails=draw.choice((1, 1, 2)))
        case TaskFeature.DELAY:
            return replace(task, delay=draw.uniform(*_DELAYS))
        case TaskFeature.CANCEL:
            work = _LONG_SECONDS if draw.random() < _LONG_SHARE else task.work
            return replace(task, cancel_after=draw.uniform(*_CANCEL_AFTER), work=work)
        case TaskFeature.KEY:
            return replace(task, key=f"task-{task.number}")


class VariedClient(NumberedClient):
    """Submits a task with a key once more after each answer, and cancels a task with `cancel_after` that long after it.

    A cancel is recorded as `ok` if the target accepted it, as `fail` if the task had ended, and as `info` if the target
    did not answer.
    """

    def __init__(self, session: TargetSession, recorder: Recorder) -> None:
        super().__init__(session, recorder)
        self._lock = threading.Lock()
        self._waiting = 0

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks now, and those with a key twice."""
        answers = super().submit(tasks)
        to_cancel = {task.number: task.cancel_after for task in tasks if task.cancel_after is not None}
        for answer in answers:
            after = to_cancel.get(answer.number)
            if after is not None and answer.activity is not None:
                self._cancel_later(after, answer.number, answer.activity)
        if again := [task for task in tasks if task.key is not None]:
            super().submit(again)
        return answers

    def unfinished(self) -> int:
        """How many submitted tasks are unfinished according to the target, or are still to be canceled."""
        with self._lock:
            waiting = self._waiting
        return super().unfinished() + waiting

    def _cancel_later(self, seconds: float, task: int, activity: str) -> None:
        with self._lock:
            self._waiting += 1
        timer = threading.Timer(seconds, self._cancel, (task, activity))
        timer.daemon = True
        timer.start()

    def _cancel(self, task: int, activity: str) -> None:
        value = {"task": task, "activity": activity}
        self._recorder.record(OperationType.INVOKE, CANCEL, **value)
        try:
            accepted: Sequence[str] = self._session.cancel([activity])  # type: ignore[attr-defined]  # of the feature
        except HarnessError as error:
            self._recorder.record(OperationType.INFO, CANCEL, **value, error=describe_error(error))
        else:
            kind = OperationType.OK if activity in accepted else OperationType.FAIL
            self._recorder.record(kind, CANCEL, **value)
        finally:
            with self._lock:
                self._waiting -= 1


WORKLOAD = VariedTasks()
