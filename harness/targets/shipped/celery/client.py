"""The client of Celery: sends tasks under ids of its own, and reads their results and the messages at the broker."""

import json
from uuid import uuid4

from brokers import queue_of
from harness_worker import client, settings
from redis import Redis
from tasks import app, perform

STATUSES = {"SUCCESS": "complete", "FAILURE": "error", "REVOKED": "canceled", "STARTED": "running"}
WAITING = ("queued", "running")


class CeleryClient:
    """One queue of Celery, with results in Redis."""

    def __init__(self):
        self.redis = Redis.from_url(settings.redis_url)
        self.queue = queue_of(app)
        self.tasks = {}

    def submit(self, task):
        """Send one task."""
        activity = str(uuid4())
        self.tasks[activity] = task["number"]
        perform.apply_async((task,), task_id=activity)
        return activity

    def results(self):
        """The keys of the results."""
        return [app.backend.get_key_for_task(activity) for activity in self.tasks]

    def statuses(self):
        """The status of each task that has a result."""
        results = zip(self.tasks, self.redis.mget(self.results()) if self.tasks else ())
        return {
            activity: STATUSES.get(json.loads(result)["status"], "queued")
            for activity, result in results
            if result is not None
        }

    def unfinished(self):
        """How many tasks wait or run."""
        statuses = self.statuses().values()
        running = sum(status in WAITING for status in statuses)
        return self.queue.unfinished(running, len(self.tasks) - len(statuses) + running)

    def evidence(self):
        """The status of each task, and the messages that are left; a task that has only a message is queued."""
        ready, leased = self.queue.held()
        queued = dict.fromkeys([one for one in (*ready, *leased) if one in self.tasks], "queued")
        for activity, status in {**queued, **self.statuses()}.items():
            yield client.record(self.tasks[activity], activity, status)
        yield client.queue(ready=len(ready), leased=len(leased), held=[*ready, *leased])

    def close(self):
        """Remove the results and the messages."""
        self.queue.delete()
        if self.tasks:
            self.redis.delete(*self.results())


client.serve(CeleryClient())
