"""Celery on Redis with the prefork pool."""

import peer_kit as kit
from celery import Celery

app = Celery("celery_peer", broker=kit.settings.redis_url)
app.conf.update(
    task_default_queue=kit.settings.queue,
    task_ignore_result=True,
    worker_prefetch_multiplier=128,
)


@app.task
def perform(task):
    """Do the work of a task."""
    kit.run(task)


class CeleryProducer(kit.Producer):
    """A producer of Celery."""

    def enqueue(self, task):
        """Send one task."""
        perform.delay(task)

    def unfinished(self):
        """Messages in the list, and those that are not acknowledged."""
        return self.redis.number("HLEN", "unacked") + self.redis.number("LLEN", kit.settings.queue)


producer = CeleryProducer()
