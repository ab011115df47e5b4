"""Dramatiq on Redis; its command has worker processes, and threads in them."""

import dramatiq
import peer_kit as kit
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=kit.settings.redis_url)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=kit.settings.queue)
def perform(task):
    """Do the work of a task."""
    kit.run(task)


class DramatiqProducer(kit.Producer):
    """A producer of Dramatiq."""

    def enqueue(self, task):
        """Send one message."""
        perform.send(task)

    def unfinished(self):
        """Messages that are not acknowledged."""
        return self.redis.number("HLEN", f"{broker.namespace}:{kit.settings.queue}.msgs")


producer = DramatiqProducer()
