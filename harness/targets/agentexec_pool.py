"""The pool under test: agentexec with one handler, started by `agentexec worker` in its own processes.

The application has two versions, so that a run can deploy one after the other. Version 2 knows one more task and one
more field of the context; version 1 refuses both.
"""

from __future__ import annotations

import os
from uuid import UUID

import agentexec as ax
from harness.targets import body
from harness.targets.agentexec_tasks import ENV_VERSION, NEW_TASK_NAME, TASK_NAME, Numbered, Numbered2

_HALF = 50  # percent: a handler that is to fail does so near its end

pool = ax.Pool()


async def numbered(agent_id: UUID, context: Numbered) -> str | None:
    """Run the handler body that all targets share, with the attempt and fencing token of agentexec."""
    task = ax.current_task()

    def report(percentage: int) -> None:
        task.report("working", percentage)
        if percentage > _HALF and task.attempt <= context.fails:
            raise body.RequestedFailure("the workload asks for it")

    return await body.perform(
        context.number,
        activity=str(agent_id),
        attempt=task.attempt,
        fence=task.fence,
        work=context.work,
        gate=context.gate,
        lock=context.lock,
        report=report,
    )


async def numbered_2(agent_id: UUID, context: Numbered2) -> str | None:
    """The handler of version 2."""
    return await numbered(agent_id, context)


if os.environ.get(ENV_VERSION) == "1":
    pool.add_task(TASK_NAME, numbered)
else:
    pool.add_task(TASK_NAME, numbered_2)
    pool.add_task(NEW_TASK_NAME, numbered_2)

# The parent and the client import this module too, but they run no tasks.
if "AGENTEXEC_WORKER_ID" in os.environ:
    body.say_hello()
