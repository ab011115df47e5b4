"""The task of a handler that a test calls by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from agentexec.context import CurrentTask, HandlerVerdict, current
from agentexec.identifiers import new_id, parse_id


class Report(NamedTuple):
    """Progress that a handler reported."""

    message: str
    percentage: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTask:
    """What a handler does through `current_task()` and `ax.activity`, which writes nothing here."""

    agent_id: UUID
    reports: list[Report] = field(default_factory=list)
    verdict: HandlerVerdict = field(default_factory=HandlerVerdict, repr=False)

    @property
    def failed(self) -> str | None:
        """The message with which the handler decided that the task failed for good; None if it did not."""
        return self.verdict.failed

    @property
    def completed(self) -> str | None:
        """The message that the handler set for the end of the task; None for the default."""
        return self.verdict.completed


@contextmanager
def running(
    *, task_name: str = "task", agent_id: UUID | str | None = None, attempt: int = 1, fence: int = 1
) -> Iterator[RunningTask]:
    """Let code in the block be the handler of a task, so that `current_task()` gives it; yields what it does.

    For a function that needs the id, pass the `agent_id` of the yielded value. Threads that the block starts have the
    task too if their context is copied, as by `asyncio.to_thread`.
    """
    task = RunningTask(agent_id=new_id() if agent_id is None else parse_id(agent_id))

    def report(message: str, percentage: int | None) -> None:
        task.reports.append(Report(message, percentage))

    details: dict[str, Any] = {"_report": report, "_verdict": task.verdict}
    token = current.set(
        CurrentTask(agent_id=task.agent_id, task_name=task_name, attempt=attempt, fence=fence, **details)
    )
    try:
        yield task
    finally:
        current.reset(token)
