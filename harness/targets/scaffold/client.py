"""The client of NAME: submits tasks, and reads what became of them."""

import json
from uuid import uuid4

import redis
from harness_worker import client, settings


class Adapter:
    """The calls of the harness. Any method may be `async def`; `prepare`, `close` and `version` are optional."""

    def __init__(self):
        self.server = redis.Redis.from_url(settings.redis_url)
        self.queue = settings.queue
        self.numbers = {}

    def submit(self, task):
        """Enqueue one task and return its id. An exception says that the outcome is unknown, `TaskRefused` that it
        certainly has no effect. The handler needs the whole task."""
        activity = uuid4().hex
        self.numbers[activity] = task["number"]
        self.server.hset(self.queue + ":tasks", activity, json.dumps(task))
        self.server.rpush(self.queue + ":ready", activity)
        return activity

    def unfinished(self):
        """How many tasks wait or run."""
        return self.server.hlen(self.queue + ":tasks") - self.server.hlen(self.queue + ":done")

    def evidence(self):
        """One record for each task that the system has, and one report of the queue."""
        done = self.server.hgetall(self.queue + ":done")
        for activity, number in self.numbers.items():
            if self.server.hexists(self.queue + ":tasks", activity):
                status = done.get(activity.encode(), b"queued").decode()
                yield client.record(number, activity, status)
        ready = self.server.lrange(self.queue + ":ready", 0, -1)
        running = self.server.keys(self.queue + ":running:*")
        yield client.queue(ready=len(ready), leased=len(running), held=[one.decode() for one in ready])

    def close(self):
        """Remove what the run left on the server."""
        for key in self.server.scan_iter(self.queue + ":*"):
            self.server.delete(key)


client.serve(Adapter())
