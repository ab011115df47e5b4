"""The messages of one queue of Dramatiq: those that wait, are delayed, are with a worker, and are dead letters.

Delayed messages, such as retries, wait in a queue of their own, whose name ends with `.DQ`; dead letters in one with
`.XQ`.
"""

import json

from harness_worker import settings

NAME = settings.queue


class DramatiqOnRedis:
    """A hash has the messages, a list those that wait, and a set for each worker those it has."""

    def __init__(self, broker, redis):
        self.broker = broker
        self.redis = redis

    def ids(self, queue):
        """By Redis id, the ids of the messages of a queue."""
        messages = self.redis.hgetall(f"{self.broker.namespace}:{queue}.msgs").items()
        return {key: json.loads(message)["message_id"] for key, message in messages}

    def send(self, message):
        """Send one message."""
        self.broker.enqueue(message)

    def held(self):
        """The ids of the messages that wait, are delayed, and are with a worker."""
        ids, space = self.ids(NAME), self.broker.namespace
        ready = [ids[key] for key in self.redis.lrange(f"{space}:{NAME}", 0, -1) if key in ids]
        sets = self.redis.scan_iter(f"{space}:__acks__.*.{NAME}", count=1000)
        leased = [ids[key] for name in sets for key in self.redis.smembers(name) if key in ids]
        return ready, list(self.ids(f"{NAME}.DQ").values()), leased

    def dead(self):
        """The ids of the dead letters."""
        return list(self.ids(f"{NAME}.XQ").values())

    def unfinished(self, without_end):
        """How many messages the queue has."""
        del without_end
        return len({activity for part in self.held() for activity in part})

    def delete(self):
        """Remove the queue."""
        self.broker.flush(NAME)


class DramatiqOnRabbit:
    """RabbitMQ tells which messages wait. It gives back what a worker had once the worker has ended."""

    def __init__(self, broker):
        self.broker = broker
        self.broker.declare_queue(NAME, ensure=True)

    def send(self, message):
        """Send one message; each thread has a connection of its own, which it closes."""
        self.broker.enqueue(message)
        del self.broker.connection

    def taken(self, queue):
        """The ids of the messages that wait in a queue. It takes all, and disconnects without acknowledging."""
        del self.broker.connection
        channel, ids = self.broker.channel, []
        while (body := channel.basic_get(queue)[2]) is not None:
            ids.append(json.loads(body)["message_id"])
        del self.broker.connection
        return ids

    def held(self):
        """The ids of the messages that wait, are delayed, and are with a worker."""
        return self.taken(NAME), self.taken(f"{NAME}.DQ"), []

    def dead(self):
        """The ids of the dead letters."""
        return self.taken(f"{NAME}.XQ")

    def unfinished(self, without_end):
        """How many tasks have no end, because some worker may have their messages, or how many messages wait."""
        ready, delayed, dead = self.broker.get_queue_message_counts(NAME)
        del self.broker.connection
        return max(without_end - dead, ready + delayed)

    def delete(self):
        """Remove the queues."""
        for queue in (NAME, f"{NAME}.DQ", f"{NAME}.XQ"):
            self.broker.channel.queue_delete(queue)


def queue_of(broker, redis):
    """The queue of this run at `broker`."""
    return DramatiqOnRabbit(broker) if settings.profile == "rabbitmq" else DramatiqOnRedis(broker, redis)
