"""The plain workload: numbered tasks that each work for a short time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

from harness.checkers import delivery, effects, evidence, fencing, nothing_left, transitions
from harness.checkers.base import Checker
from harness.history import OperationType, Recorder
from harness.targets.base import Submission, TargetSession, TaskSpec
from harness.workloads.generator import Arrival, numbered_tasks

# One of this number of tasks is submitted after every fault is healed.
_FINAL_SHARE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberedTasks:
    """`rate` tasks a second on average; each works between the two times of `work` (seconds)."""

    name: str = "numbered-tasks"
    rate: float = 20.0
    work: tuple[float, float] = (0.05, 0.25)

    def with_rate(self, rate: float) -> Self:
        """The same workload at another rate."""
        return replace(self, rate=rate)

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that records each submission twice, before and after."""
        return NumberedClient(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """All but the last tasks."""
        stream = numbered_tasks(seed=seed, tasks=tasks, rate=self.rate, work=self.work, gated=gated)
        return islice(stream, tasks - tasks // _FINAL_SHARE)

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks."""
        stream = numbered_tasks(seed=seed, tasks=tasks, rate=self.rate, work=self.work)
        return islice(stream, tasks - tasks // _FINAL_SHARE, None)

    def checkers(self) -> Mapping[str, Checker]:
        """No task lost, legal transitions, fencing respected, each effect once, an empty queue."""
        return {
            "evidence": evidence(),
            "delivery": delivery(),
            "transitions": transitions(),
            "fencing": fencing(),
            "effects": effects(),
            "queue": nothing_left(),
        }


class NumberedClient:
    """Submits tasks and records each outcome: `ok` with the activity, `fail`, or `info` if it is unknown.

    Threads may share it. The time in `intended` is when the task was due, however late it is submitted.
    """

    def __init__(self, session: TargetSession, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks now, record each attempt and its outcome, and return the outcomes."""
        for task in tasks:
            options: dict[str, object] = {"lock": task.lock, "priority": task.priority}
            options |= {"intended": task.intended, "delay": task.delay or None, "key": task.key}
            given = {name: value for name, value in options.items() if value is not None}
            self._recorder.record(OperationType.INVOKE, "enqueue", task=task.number, **given)
        answers = self._session.submit(tasks)
        for submission in answers:
            self._record_outcome(submission)
        return answers

    def unfinished(self) -> int:
        """How many submitted tasks are unfinished according to the target."""
        return self._session.unfinished()

    def _record_outcome(self, submission: Submission) -> None:
        value: dict[str, object] = {"task": submission.number}
        if submission.activity is not None:
            kind = OperationType.OK
            value["activity"] = submission.activity
        else:
            kind = OperationType.FAIL if submission.certain else OperationType.INFO
            value["error"] = submission.error
        if submission.name is not None:
            value["name"] = submission.name
        self._recorder.record(kind, "enqueue", **value)


WORKLOAD = NumberedTasks()
