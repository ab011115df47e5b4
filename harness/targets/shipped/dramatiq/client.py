"""The client of Dramatiq: sends messages under ids of its own, and reads the keys of the Redis broker."""

import json

from harness_worker import client, settings
from tasks import DONE, broker, perform, redis

NAME = f"{broker.namespace}:{settings.queue}"


class Adapter:
    """One queue of Dramatiq. A hash has the messages, a list those that wait, and a set for each worker those it has.

    Retries wait in a queue of their own, whose name ends with `.DQ`.
    """

    def __init__(self):
        self.tasks = {}

    def submit(self, task):
        """Send one message."""
        message = perform.message(task)
        self.tasks[message.message_id] = task["number"]
        broker.enqueue(message)
        return message.message_id

    def ids(self, queue):
        """By Redis id, the ids of the messages of a queue."""
        messages = redis.hgetall(f"{broker.namespace}:{queue}.msgs").items()
        return {key: json.loads(message)["message_id"] for key, message in messages}

    def leased(self):
        """The ids of the messages that a worker has."""
        ids = self.ids(settings.queue)
        sets = redis.scan_iter(f"{broker.namespace}:__acks__.*.{settings.queue}", count=1000)
        return [ids[key] for name in sets for key in redis.smembers(name) if key in ids]

    def held(self):
        """The ids of the messages that wait, that are delayed, and that a worker has."""
        ids = self.ids(settings.queue)
        ready = [ids[key] for key in redis.lrange(NAME, 0, -1) if key in ids]
        return ready, list(self.ids(f"{settings.queue}.DQ").values()), self.leased()

    def statuses(self):
        """The status of each task that has ended, is a dead letter, or is in the queue."""
        dead = self.ids(f"{settings.queue}.XQ").values()
        ready, delayed, leased = self.held()
        return {
            **dict.fromkeys([*ready, *delayed], "queued"),
            **dict.fromkeys(leased, "running"),
            **dict.fromkeys(dead, "error"),
            **dict.fromkeys((activity.decode() for activity in redis.smembers(DONE)), "complete"),
        }

    def unfinished(self):
        """How many messages the queue has."""
        return len({activity for part in self.held() for activity in part})

    def evidence(self):
        """The status of each task, and the messages that are left."""
        for activity, status in self.statuses().items():
            if activity in self.tasks:
                yield client.record(self.tasks[activity], activity, status)
        ready, delayed, leased = self.held()
        yield client.queue(
            ready=len(ready),
            leased=len(leased),
            scheduled=len(delayed),
            dead=redis.zcard(f"{NAME}.XQ"),
            held=[*ready, *delayed, *leased],
        )

    def close(self):
        """Remove the messages and the notes of their ends."""
        broker.flush(settings.queue)
        redis.delete(DONE)


client.serve(Adapter())
