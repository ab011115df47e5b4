"""The job of arq, and one worker process."""

from arq.connections import RedisSettings
from arq.worker import Worker
from harness_worker import settings, worker


async def numbered(ctx, task):
    """Run one task of the harness."""
    async with worker.run(task, activity=ctx["job_id"], attempt=ctx["job_try"]):
        pass


async def started(ctx):
    """Record `hello`: arq calls this once it is connected."""
    worker.hello()


if __name__ == "__main__":
    Worker(
        functions=[numbered],
        redis_settings=RedisSettings.from_dsn(settings.redis_url),
        queue_name=settings.queue,
        max_jobs=settings.concurrency,
        job_timeout=10,
        on_startup=started,
    ).run()
