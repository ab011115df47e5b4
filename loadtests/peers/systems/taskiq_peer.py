"""taskiq with a list in Redis."""

import peer_kit as kit
import uvloop
from taskiq_redis import ListQueueBroker

broker = ListQueueBroker(kit.settings.redis_url, queue_name=kit.settings.queue)


@broker.task
async def perform(task: dict) -> None:
    """Do the work of a task."""
    await kit.run_async(task)


class TaskiqProducer(kit.Producer):
    """A producer of taskiq."""

    is_concurrent = True
    run = staticmethod(uvloop.run)

    async def connect(self):
        """Connect."""
        await broker.startup()

    async def enqueue(self, task):
        """Send one task."""
        await perform.kiq(task)

    def unfinished(self):
        """Tasks in the list; taskiq does not know those that run."""
        return self.redis.number("LLEN", kit.settings.queue)

    async def close(self):
        """Disconnect."""
        await broker.shutdown()


producer = TaskiqProducer()
