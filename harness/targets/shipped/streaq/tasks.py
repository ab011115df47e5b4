"""The worker object and the task of streaq."""

from contextlib import asynccontextmanager
from datetime import timedelta

from harness_worker import settings, worker
from streaq import Worker


@asynccontextmanager
async def lifespan():
    """Record `hello`: streaq enters this in each worker process, once it is connected."""
    worker.hello()
    yield


streaq = Worker(
    redis_url=settings.redis_url,
    queue_name=settings.queue,
    concurrency=settings.concurrency,
    idle_timeout=5,
    grace_period=int(settings.graceful) if settings.profile == "grace" else 0,
    lifespan=lifespan,
)


@streaq.task(ttl=timedelta(hours=1))
async def perform(task: dict, activity: str) -> None:
    """Run one task of the harness."""
    async with worker.run(task, activity=activity, attempt=perform.context.tries):
        pass
