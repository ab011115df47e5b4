"""SAQ on Redis."""

import asyncio

import peer_kit as kit
from saq import Queue, Worker

CONCURRENCY = 32

queue = Queue.from_url(kit.settings.redis_url, name=kit.settings.queue)


async def perform(ctx, *, task):
    """Do the work of a task."""
    await kit.run_async(task)


async def started(ctx):
    """Wait for the gate before SAQ sweeps: it gives away the jobs of a process that waits between two steps."""
    kit.arrive()


class SaqProducer(kit.Producer):
    """A producer of SAQ."""

    is_concurrent = True

    async def connect(self):
        """Connect."""
        await queue.connect()

    async def enqueue(self, task):
        """Enqueue one job."""
        await queue.enqueue("perform", task=task)

    async def unfinished(self):
        """Jobs that wait or run."""
        return await queue.count("incomplete")

    async def close(self):
        """Disconnect."""
        await queue.disconnect()


async def _work():
    await queue.connect()
    try:
        await Worker(queue, [perform], concurrency=CONCURRENCY, startup=started).start()
    finally:
        await queue.disconnect()


def work():
    """One worker process."""
    asyncio.run(_work())


producer = SaqProducer()
