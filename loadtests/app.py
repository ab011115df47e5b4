"""The pool that works the load off: `agentexec worker loadtests.app:pool`, on staging as in a run of our own."""

from __future__ import annotations

import asyncio
import os
from uuid import UUID

import agentexec as ax
from harness.targets import body
from loadtests.work import TASK_NAME, TaskDone, Work

pool = ax.Pool()


@pool.task(TASK_NAME)
async def work(agent_id: UUID, context: Work) -> TaskDone:
    """Wait as an agent waits for its model; returns the size of the padding."""
    await asyncio.sleep(context.seconds)
    return TaskDone(size=len(context.padding))


# On staging nobody collects a history; in a run of our own the hello says that this worker is up.
if "AGENTEXEC_WORKER_ID" in os.environ and body.ENV_HISTORY in os.environ:
    body.say_hello()
