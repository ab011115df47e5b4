"""The pool of a load test: `agentexec worker loadtests.app:pool`, on staging or in `python -m loadtests.run`."""

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
    """Sleep, as an agent waits for its model, and return the size of the padding."""
    await asyncio.sleep(context.seconds)
    return TaskDone(size=len(context.padding))


# In `loadtests.run` the operation `hello` shows that this worker is up; on staging there is no history.
if "AGENTEXEC_WORKER_ID" in os.environ and body.ENV_HISTORY in os.environ:
    body.say_hello()
