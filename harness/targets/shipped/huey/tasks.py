"""The task of huey, and what its worker processes do at their start and when a task is interrupted."""

from harness_worker import settings, worker
from huey import RedisHuey
from huey.signals import SIGNAL_INTERRUPTED

huey = RedisHuey(settings.queue, url=settings.redis_url)


@huey.task(context=True)
def perform(number, task=None):
    """Run one task of the harness. Its result shows that it ended; huey does not store None."""
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
