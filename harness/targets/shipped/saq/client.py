"""The client of SAQ: enqueues jobs under keys of its own, and reads their status."""

from harness_worker import client, settings
from saq import Queue

STATUSES = {
    "new": "queued",
    "queued": "queued",
    "active": "running",
    "aborting": "running",
    "complete": "complete",
    "failed": "error",
    "aborted": "canceled",
}
OPTIONS = {"retries": 5} if settings.profile == "retries" else {}


class Saq:
    """One queue of SAQ."""

    def __init__(self):
        self.keys = {}
        self.queue = Queue.from_url(settings.redis_url, name=settings.queue)

    async def prepare(self):
        """Connect."""
        await self.queue.connect()

    async def submit(self, task):
        """Enqueue one job."""
        key = self.keys[task["number"]] = f"{settings.queue}-{task['number']}"
        await self.queue.enqueue("numbered", key=key, task=task, ttl=3600, **OPTIONS)
        return key

    async def unfinished(self):
        """How many jobs wait or run."""
        found = [await self.status(key) for key in self.keys.values()]
        return sum(status in ("queued", "running") for status in found)

    async def evidence(self):
        """The status of each job, and the lengths of SAQ's own lists."""
        for number, key in self.keys.items():
            status = await self.status(key)
            if status is not None:
                yield client.record(number, key, status)
        queued, active = await self.queue.count("queued"), await self.queue.count("active")
        scheduled = max(0, await self.queue.count("incomplete") - queued - active)
        yield client.queue(ready=queued, leased=active, scheduled=scheduled, dead=0)

    async def status(self, key):
        """The status of a job in the words of the harness; None if SAQ does not have it."""
        job = await self.queue.job(key)
        return None if job is None else STATUSES[job.status]

    async def close(self):
        """Disconnect."""
        await self.queue.disconnect()


client.serve(Saq())
