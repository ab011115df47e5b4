"""The job of arq, and one worker process."""

from __future__ import annotations

from typing import Any

from arq.connections import RedisSettings
from arq.worker import Worker

from harness_worker import worker
from harness_worker.environment import SETTINGS

JOB_TIMEOUT_SECONDS = 10


async def numbered(ctx: dict[str, Any], task: dict[str, Any]) -> None:
    async with worker.run(task, activity=ctx["job_id"], attempt=ctx["job_try"]):
        pass


async def started(ctx: dict[str, Any]) -> None:
    worker.hello()


if __name__ == "__main__":
    Worker(
        functions=[numbered],
        redis_settings=RedisSettings.from_dsn(SETTINGS.redis_url),
        queue_name=SETTINGS.queue,
        max_jobs=SETTINGS.concurrency,
        job_timeout=JOB_TIMEOUT_SECONDS,
        on_startup=started,
    ).run()
