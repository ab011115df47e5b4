"""The task of a running handler, as the handler sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from agentexec.errors import AgentexecError, require, whole_percentage


@dataclass(kw_only=True, slots=True)
class HandlerVerdict:
    """What a handler decided about its own end, applied when it ends; the first decision counts."""

    failed: str | None = None
    completed: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentTask:
    """The task a handler is running.

    `attempt` counts from 1. `fence` is the fencing token: an external effect that is keyed by `agent_id` and refuses
    lower tokens than it has seen takes effect exactly once, also when a paused worker continues late.
    """

    agent_id: UUID
    task_name: str
    attempt: int
    fence: int
    _report: Callable[[str, int | None], None] = field(repr=False)
    _verdict: HandlerVerdict = field(default_factory=HandlerVerdict, repr=False)

    def report(self, message: str, percentage: int | None = None) -> None:
        """Add progress to the activity's log; `percentage` is 0 to 100.

        Returns at once: the worker records it with its next batch.
        """
        require(message, str, "The message of a report is text", 'format it first, as in f"{value}"')
        self._report(message, whole_percentage(percentage))

    def fail(self, message: str) -> None:
        """Decide that this task failed for good: when the handler ends, its activity becomes ERROR with this message.

        A task that is canceled, released by a shutdown, or loses its lease first ends in that way instead.
        """
        require(message, str, "The message of a failure is text", "say why the task failed")
        self._verdict.failed = self._verdict.failed or message

    def close_with(self, message: str) -> None:
        """Set the message of the COMPLETE entry that is recorded when the handler returns."""
        require(message, str, "The message of a completion is text", "leave it out for the default")
        self._verdict.completed = self._verdict.completed or message


current: ContextVar[CurrentTask] = ContextVar("agentexec_current_task")


def current_task() -> CurrentTask:
    """The task this handler runs; raises `AgentexecError` outside of a handler."""
    try:
        return current.get()
    except LookupError:
        raise AgentexecError("current_task() is for handlers: no task is running here.") from None
