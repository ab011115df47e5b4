"""Submissions of tasks: each request of the client with its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.history.fields import optional_whole, task_of
from harness.history.history import History
from harness.history.operation import Operation, OperationType


class RecordedSubmission(NamedTuple):
    """One `enqueue`: its request and, if recorded, its answer."""

    task: int
    request: Operation
    answer: Operation | None

    @property
    def intended(self) -> int:
        """When the task was due (nanoseconds): the time of the request, if it does not say that it is late.

        Raises `ValueError` for an intended time that is no whole number.
        """
        due = optional_whole(self.request, "intended")
        return self.request.time if due is None else min(due, self.request.time)

    @property
    def name(self) -> str | None:
        """What the application calls the task, None if that is not recorded; raises `ValueError` for no text."""
        name = None if self.answer is None else self.answer.value.get("name")
        if name is not None and not isinstance(name, str):
            raise ValueError(f"task {self.task} has a name that is no text")
        return name

    @property
    def acknowledged(self) -> bool:
        """The system accepted the task."""
        return self.answer is not None and self.answer.type is OperationType.OK


def submissions(history: History) -> Sequence[RecordedSubmission]:
    """Every submission in order of its request. An answer without a request is left out."""
    return history.derive(_submissions)


def _submissions(history: History) -> Sequence[RecordedSubmission]:
    requests: list[tuple[int, Operation]] = []
    answers: list[Operation | None] = []
    open_at: dict[int, int] = {}
    for operation in history.where("enqueue"):
        task = task_of(operation)
        if operation.type is OperationType.INVOKE:
            open_at[task] = len(requests)
            requests.append((task, operation))
            answers.append(None)
        elif (index := open_at.pop(task, None)) is not None:
            answers[index] = operation
    return [RecordedSubmission(task, one, last) for (task, one), last in zip(requests, answers, strict=True)]
