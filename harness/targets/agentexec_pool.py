"""The pool that is put under test: agentexec with one handler. Run by `agentexec worker` in processes of its own."""

from __future__ import annotations

import os
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from harness.targets import body

TASK_NAME = "harness.numbered"


class Numbered(BaseModel):
    """What a task of the workload is told: its number, seconds of work, the gate it waits at, and its lock key."""

    number: int
    work: float = 0.0
    gate: str | None = None
    lock: str | None = None


pool = ax.Pool()


@pool.task(TASK_NAME)
async def numbered(agent_id: UUID, context: Numbered) -> None:
    """Run the body that all targets share, with the attempt and the fence that agentexec hands out."""
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


if "AGENTEXEC_WORKER_ID" in os.environ:  # the parent and the client import this module too, and run no tasks
    body.say_hello()
