"""streaq on Redis streams."""

import peer_kit as kit
from streaq import Worker

CONCURRENCY = 32

worker = Worker(redis_url=kit.settings.redis_url, queue_name=kit.settings.queue, concurrency=CONCURRENCY)


@worker.task()
async def perform(task: dict) -> None:
    """Do the work of a task."""
    await kit.run_async(task)


class StreaqProducer(kit.Producer):
    """A producer of streaq, whose connection is entered and left by the same task."""

    is_concurrent = True

    async def connect(self):
        """Connect."""
        await worker.__aenter__()

    async def enqueue(self, task):
        """Enqueue one task."""
        await perform.enqueue(task)

    async def enqueue_many(self, tasks):
        """Enqueue tasks with one pipeline."""
        await worker.enqueue_many([perform.enqueue(task) for task in tasks])

    async def unfinished(self):
        """Messages in the stream: a worker deletes those of ended tasks."""
        return await worker.redis.xlen(worker.stream_key + worker.priorities[0])

    async def close(self):
        """Disconnect."""
        await worker.__aexit__(None, None, None)


def work():
    """One worker process."""
    worker.run_sync()


producer = StreaqProducer()
