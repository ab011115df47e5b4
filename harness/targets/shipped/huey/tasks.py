"""The task of huey, and what its worker processes do at their start and when a task is interrupted."""

import os

from harness_worker import settings, worker
from huey import RedisHuey
from huey.signals import SIGNAL_INTERRUPTED

huey = RedisHuey(settings.queue, url=settings.redis_url)
RUNNING = f"{settings.queue}-running"


@huey.task(context=True)
def perform(number, task=None):
    """Run one task of the harness; huey itself does not know which tasks run, so the handler notes its process."""
    huey.storage.conn.hset(RUNNING, task.id, os.getpid())
    with worker.run(number, activity=task.id):
        pass
    return True


@huey.on_startup()
def hello():
    """Record `hello`: huey calls this in each worker process."""
    worker.hello()


if settings.profile != "defaults":

    @huey.signal(SIGNAL_INTERRUPTED)
    def again(signal, task):
        """Enqueue an interrupted task again, as the recipe of huey does."""
        huey.enqueue(task)
