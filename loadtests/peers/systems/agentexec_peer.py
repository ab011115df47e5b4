"""agentexec, the one of this checkout."""

from uuid import UUID

import peer_kit as kit
from pydantic import BaseModel

import agentexec as ax
from agentexec.core.db import create_schema

pool = ax.Pool()


class PeerWork(BaseModel):
    """The context of a task."""

    number: int
    work: float = 0.0


@pool.task("perform")
async def perform(agent_id: UUID, context: PeerWork) -> None:
    """Do the work of a task."""
    await kit.run_async({"number": context.number, "work": context.work})


class AgentexecProducer(kit.Producer):
    """A client of agentexec."""

    is_concurrent = True

    def connect(self):
        """Make the client, which connects at its first use."""
        self.client = ax.Client()

    def install(self):
        """Create the tables."""
        create_schema(self.client.engine)

    async def enqueue(self, task):
        """Enqueue one task."""
        await self.client.enqueue("perform", PeerWork(**task))

    async def enqueue_many(self, tasks):
        """Enqueue tasks in one transaction."""
        await self.client.enqueue_many(
            [ax.TaskRequest(task_name="perform", context=PeerWork(**task)) for task in tasks]
        )

    def unfinished(self):
        """Tasks that the queue knows: a worker takes one out once its end is committed."""
        return self.client.queue.depth().known

    def close(self):
        """Disconnect."""
        self.client.close()


producer = AgentexecProducer()
