"""What a running handler may ask about itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from agentexec.errors import AgentexecError


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentTask:
    """The task a handler is running.

    `attempt` counts from 1. `fence` is the fencing token: an external effect that is keyed by `agent_id` and
    refuses a lower fence than it has seen takes effect exactly once, also when a paused worker wakes up late.
    """

    agent_id: UUID
    task_name: str
    attempt: int
    fence: int
    _report: Callable[[str, int | None], None] = field(repr=False)

    def report(self, message: str, percentage: int | None = None) -> None:
        """Add progress to the activity's log; `percentage` is 0 to 100. Returns at once, the worker writes
        it in a batch.
        """
        if percentage is not None and not 0 <= percentage <= 100:
            raise ValueError(f"percentage is between 0 and 100, not {percentage}")
        self._report(message, percentage)


current: ContextVar[CurrentTask] = ContextVar("agentexec_current_task")


def current_task() -> CurrentTask:
    """The task this handler runs; raises `AgentexecError` outside of a handler."""
    try:
        return current.get()
    except LookupError:
        raise AgentexecError("current_task() is for handlers: no task is running here.") from None
