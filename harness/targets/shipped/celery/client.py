"""The client of Celery: sends tasks under ids of its own, and reads their results and the keys of the Redis broker."""

import json
from uuid import uuid4

from harness_worker import client, settings
from redis import Redis
from tasks import app, perform

STATUSES = {"SUCCESS": "complete", "FAILURE": "error", "REVOKED": "canceled", "STARTED": "running"}
WAITING = ("queued", "running")


class Adapter:
    """One queue of Celery. Messages wait in a list; those that a worker has and did not acknowledge are in a hash."""

    def __init__(self):
        self.redis = Redis.from_url(settings.redis_url)
        self.tasks = {}

    def submit(self, task):
        """Send one task."""
        activity = str(uuid4())
        self.tasks[activity] = task["number"]
        perform.apply_async((task,), task_id=activity)
        return activity

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

    def keys(self):
        """The keys of the results."""
        return [app.backend.get_key_for_task(activity) for activity in self.tasks]

    def statuses(self):
        """The status of each task that Celery has; a task without a result is queued if the broker holds it."""
        held = {*self.ready(), *self.leased().values()}
        results = zip(self.tasks, self.redis.mget(self.keys()) if self.tasks else ())
        found = {
            activity: STATUSES.get(json.loads(result)["status"], "queued")
            for activity, result in results
            if result is not None
        }
        return {**dict.fromkeys(held & self.tasks.keys(), "queued"), **found}, held

    def unfinished(self):
        """How many tasks have no result, or a message that a worker will still take."""
        statuses, held = self.statuses()
        return len(held | {activity for activity, status in statuses.items() if status in WAITING})

    def evidence(self):
        """The status of each task, and the messages that are left."""
        statuses, _ = self.statuses()
        for activity, status in statuses.items():
            yield client.record(self.tasks[activity], activity, status)
        ready, leased = self.ready(), self.leased()
        yield client.queue(ready=len(ready), leased=len(leased), held=[*ready, *leased.values()])

    def close(self):
        """Remove the results and the messages."""
        tags = list(self.leased())
        if tags:
            self.redis.hdel("unacked", *tags)
            self.redis.zrem("unacked_index", *tags)
        self.redis.delete(settings.queue, f"_kombu.binding.{settings.queue}", *self.keys())


client.serve(Adapter())
