"""The job of SAQ, and one worker process."""

import asyncio

from harness_worker import settings, worker
from saq import Queue, Worker


async def numbered(ctx, *, task):
    """Run one task of the harness."""
    job = ctx["job"]
    async with worker.run(task, activity=job.key, attempt=job.attempts):
        pass


async def started(ctx):
    """Record `hello`: SAQ calls this before it takes jobs."""
    worker.hello()


async def main():
    """Run one worker until SIGTERM."""
    queue = Queue.from_url(settings.redis_url, name=settings.queue)
    await queue.connect()
    one = Worker(queue, [numbered], concurrency=settings.concurrency, startup=started, timers={"sweep": 1})
    try:
        await one.start()
    finally:
        await queue.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
