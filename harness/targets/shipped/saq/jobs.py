"""The job of SAQ, and one worker process."""

from __future__ import annotations

import asyncio
from typing import Any

from saq import Queue, Worker

from harness_worker import worker
from harness_worker.environment import SETTINGS


async def numbered(ctx: dict[str, Any], *, task: dict[str, Any]) -> None:
    job = ctx["job"]
    async with worker.run(task, activity=job.key, attempt=job.attempts):
        pass


async def started(ctx: dict[str, Any]) -> None:
    worker.hello()


async def main() -> None:
    queue = Queue.from_url(SETTINGS.redis_url, name=SETTINGS.queue)
    timers = {"sweep": 1} if SETTINGS.profile == "retries" else {}
    jobs = Worker(queue, [numbered], concurrency=SETTINGS.concurrency, startup=started, timers=timers)
    await queue.connect()
    await jobs.start()


if __name__ == "__main__":
    asyncio.run(main())
