"""huey on Redis; its consumer has one process for each worker."""

import peer_kit as kit
from huey import RedisHuey

huey = RedisHuey(kit.settings.queue, url=kit.settings.redis_url, results=False)


@huey.task()
def perform(task):
    """Do the work of a task."""
    kit.run(task)


class HueyProducer(kit.Producer):
    """A producer of huey."""

    def enqueue(self, task):
        """Enqueue one task."""
        perform(task)

    def unfinished(self):
        """Tasks in the list; huey does not know those that run."""
        return huey.pending_count()


producer = HueyProducer()
