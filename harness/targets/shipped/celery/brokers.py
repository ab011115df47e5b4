"""The messages of one queue of Celery: those that wait, and those that a worker has and did not acknowledge."""

import json

from harness_worker import settings
from redis import Redis


class CeleryOnRedis:
    """Messages wait in a list. A hash has those that some worker has, by delivery tag."""

    def __init__(self):
        self.redis = Redis.from_url(settings.redis_url)

    def ready(self):
        """The ids of the messages that wait."""
        return [json.loads(message)["headers"]["id"] for message in self.redis.lrange(settings.queue, 0, -1)]

    def leased(self):
        """The ids of the messages that a worker has, by delivery tag."""
        entries = {tag: json.loads(entry) for tag, entry in self.redis.hgetall("unacked").items()}
        return {
            tag: message["headers"]["id"]
            for tag, (message, _, queue) in entries.items()
            if queue == settings.queue
        }

    def held(self):
        """The ids of the messages that wait, and of those that a worker has."""
        return self.ready(), list(self.leased().values())

    def unfinished(self, running, _):
        """How many tasks run, or have a message."""
        return max(running, sum(map(len, self.held())))

    def delete(self):
        """Remove the queue."""
        if tags := list(self.leased()):
            self.redis.hdel("unacked", *tags)
            self.redis.zrem("unacked_index", *tags)
        self.redis.delete(settings.queue, f"_kombu.binding.{settings.queue}")


class CeleryOnRabbit:
    """RabbitMQ tells which messages wait. It gives back what a worker had once the worker has ended."""

    def __init__(self, app):
        self.app = app

    def held(self):
        """The ids of the messages that wait. It takes all of them, and closes the channel without acknowledging."""
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            ids = []
            while (message := channel.basic_get(settings.queue)) is not None:
                ids.append(message.headers["id"])
            return ids, []

    def unfinished(self, _, without_end):
        """How many tasks have no end, because some worker may have their messages, or how many messages wait."""
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            return max(without_end, channel.queue_declare(settings.queue, passive=True).message_count)

    def delete(self):
        """Remove the queue."""
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            channel.queue_delete(settings.queue)


def queue_of(app):
    """The queue of this run at the broker of `app`."""
    return CeleryOnRabbit(app) if "rabbitmq" in settings.profile else CeleryOnRedis()
