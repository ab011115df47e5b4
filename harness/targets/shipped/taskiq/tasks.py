"""The broker and the task of taskiq, and what its worker processes do at their start."""

from harness_worker import settings, worker
from taskiq import Context, TaskiqDepends, TaskiqEvents
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

IDLE_SECONDS = 5

if settings.profile.startswith("stream"):
    broker = RedisStreamBroker(
        settings.redis_url,
        queue_name=settings.queue,
        idle_timeout=IDLE_SECONDS * 1000,
        unacknowledged_lock_timeout=IDLE_SECONDS,
    )
else:
    broker = ListQueueBroker(settings.redis_url, queue_name=settings.queue)
broker = broker.with_result_backend(RedisAsyncResultBackend(settings.redis_url, result_ex_time=3600))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def hello(state):
    """Record `hello`: taskiq calls this in each worker process."""
    worker.hello()


@broker.task(task_name="perform")
async def perform(task: dict, context: Context = TaskiqDepends()) -> None:
    """Run one task of the harness."""
    async with worker.run(task, activity=context.message.task_id):
        pass
