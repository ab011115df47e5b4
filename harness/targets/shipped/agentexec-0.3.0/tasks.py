"""The pool and the task of agentexec 0.3.0."""

import multiprocessing
from uuid import UUID

import variables  # noqa: F401 - before agentexec
from harness_worker import settings, worker
from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool(database_url="postgresql+psycopg://" + settings.database_url.partition("://")[2])


class NumberedTask(BaseModel):
    """A task of the harness."""

    task: dict


@pool.task("numbered")
async def numbered(agent_id: UUID, context: NumberedTask) -> None:
    """Run one task of the harness."""
    async with worker.run(context.task, activity=str(agent_id)):
        pass


if multiprocessing.current_process().name != "MainProcess":
    # A worker process imports this module before it takes tasks.
    worker.hello()
