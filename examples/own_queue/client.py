"""The client of RRQ: enqueues jobs under ids of its own, and asks for their status."""

from harness_worker import client, settings
from rrq.client import RRQClient

# Any other status is an error: a job of the harness is never canceled.
STATUSES = {"PENDING": "queued", "RETRYING": "queued", "ACTIVE": "running", "COMPLETED": "complete"}


class Rrq:
    """One queue of RRQ."""

    async def prepare(self):
        """Connect to Redis."""
        self.rrq = RRQClient(config={"redis_dsn": settings.redis_url, "queue_name": settings.queue})
        self.ids = {}

    async def submit(self, task):
        """Enqueue one job."""
        job_id = self.ids[task["number"]] = f"{settings.queue}-{task['number']}"
        return await self.rrq.enqueue("numbered", {"params": {"task": task}, "job_id": job_id})

    async def statuses(self):
        """The number, the id and the status of each job that RRQ has."""
        found = [
            (number, job_id, await self.rrq.get_job_status(job_id)) for number, job_id in self.ids.items()
        ]
        return [(number, job_id, STATUSES.get(job.status, "error")) for number, job_id, job in found if job]

    async def unfinished(self):
        """How many jobs wait or run."""
        return sum(status in ("queued", "running") for _, _, status in await self.statuses())

    async def evidence(self):
        """The status of each job."""
        for number, job_id, status in await self.statuses():
            yield client.record(number, job_id, status)


client.serve(Rrq())
