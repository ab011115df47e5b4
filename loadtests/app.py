"""The pool of a load test: `agentexec worker loadtests.app:pool`, on staging or in `python -m loadtests.run`."""

from __future__ import annotations

import asyncio
import os
from uuid import UUID

import agentexec as ax
from harness.load.agents import AgentWork, perform
from harness.targets import body
from loadtests.work import AGENT_TASK_NAME, TASK_NAME, AgentDone, AgentPlan, TaskDone, Work

pool = ax.Pool()


@pool.task(TASK_NAME)
async def work(agent_id: UUID, context: Work) -> TaskDone:
    """Sleep, as an agent waits for its model, and return the size of the padding."""
    await asyncio.sleep(context.seconds)
    return TaskDone(size=len(context.padding))


@pool.task(AGENT_TASK_NAME)
async def agent(agent_id: UUID, context: AgentPlan) -> AgentDone:
    """Perform a request of an agent by sleeping through its steps."""
    planned = AgentWork.from_value(context.work)
    steps = await perform(planned)
    return AgentDone(
        steps=steps, calls=planned.calls, output_tokens=sum(step.output for step in planned.steps)
    )


# In `loadtests.run` the operation `hello` shows that this worker is up; on staging there is no history.
if "AGENTEXEC_WORKER_ID" in os.environ and body.ENV_HISTORY in os.environ:
    body.say_hello()
