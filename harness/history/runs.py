"""Runs of handlers: each invocation with its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from typing import NamedTuple

from harness.history.fields import activity_of, optional_whole, subject_of, task_of
from harness.history.history import History
from harness.history.operation import Operation, OperationType

# How the body of a handler records the error of its gate.
_GATE_ERROR = "GateError:"


class Run(NamedTuple):
    """One execution of a handler: its beginning and, if recorded, its end.

    `subject` identifies the owner of the fence (`subject_of`). `fence` is None if the target has no fencing tokens.
    """

    task: int
    subject: str
    fence: int | None
    begun: Operation
    ended: Operation | None

    @property
    def process(self) -> str:
        """The process that ran it, `worker-PID`."""
        return self.begun.process

    @property
    def finished(self) -> bool:
        """The handler returned."""
        return self.ended is not None and self.ended.type is OperationType.OK

    @property
    def attempt(self) -> int | None:
        """The number of the attempt, None if the target does not count them."""
        return optional_whole(self.begun, "attempt")

    @property
    def activity(self) -> str | None:
        """The id of the task in the system under test, None if the worker did not record it."""
        return activity_of(self.begun)


def runs(history: History) -> Sequence[Run]:
    """Every run in order of its beginning. An outcome without a beginning is left out."""
    return history.derive(_runs)


def begun(history: History) -> Counter[int]:
    """How often a handler began, by task."""
    return history.derive(_begun)


def returned(history: History) -> Counter[int]:
    """How often a handler returned, by task, with or without a recorded beginning."""
    return history.derive(_returned)


def failed_at_gate(history: History) -> Set[int]:
    """The tasks of which a handler failed because the harness did not open its gate in time."""
    return history.derive(_failed_at_gate)


def _runs(history: History) -> Sequence[Run]:
    first: list[tuple[int, Operation]] = []
    ended: list[Operation | None] = []
    open_at: dict[tuple[str, int, object], int] = {}
    for operation in history.where("run"):
        task = task_of(operation)
        key = (operation.process, task, optional_whole(operation, "fence"))
        if operation.type is OperationType.INVOKE:
            open_at[key] = len(first)
            first.append((task, operation))
            ended.append(None)
        elif (index := open_at.pop(key, None)) is not None:
            ended[index] = operation
    return [
        Run(task, subject_of(one), optional_whole(one, "fence"), one, last)
        for (task, one), last in zip(first, ended, strict=True)
    ]


def _failed_at_gate(history: History) -> Set[int]:
    failed = history.where("run", OperationType.FAIL)
    return frozenset(task_of(op) for op in failed if str(op.value.get("error")).startswith(_GATE_ERROR))


def _begun(history: History) -> Counter[int]:
    return Counter(map(task_of, history.where("run", OperationType.INVOKE)))


def _returned(history: History) -> Counter[int]:
    return Counter(map(task_of, history.where("run", OperationType.OK)))
