"""The pool under test: agentexec with one handler, started by `agentexec worker` in its own processes."""

from __future__ import annotations

import os
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from harness.targets import body

TASK_NAME = "harness.numbered"


class Numbered(BaseModel):
    """The context of a task: its number, seconds of work, its gate, and its lock key."""

    number: int
    work: float = 0.0
    gate: str | None = None
    lock: str | None = None


pool = ax.Pool()


@pool.task(TASK_NAME)
async def numbered(agent_id: UUID, context: Numbered) -> None:
    """Run the handler body that all targets share, with the attempt and fencing token of agentexec."""
    task = ax.current_task()
    await body.perform(
        context.number,
        activity=str(agent_id),
        attempt=task.attempt,
        fence=task.fence,
        work=context.work,
        gate=context.gate,
        lock=context.lock,
        report=lambda percentage: task.report("working", percentage),
    )


# The parent and the client import this module too, but they run no tasks.
if "AGENTEXEC_WORKER_ID" in os.environ:
    body.say_hello()
