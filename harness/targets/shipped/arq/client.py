"""The client of arq: enqueues jobs under ids of its own, and reads their status and results."""

from arq import create_pool
from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix
from arq.jobs import Job, JobStatus
from harness_worker import client, settings
from jobs import pool_of_sentinels

STATUSES = {JobStatus.deferred: "queued", JobStatus.queued: "queued", JobStatus.in_progress: "running"}


class Arq:
    """One queue of arq. A job stays in its sorted set until it has ended, also while it runs."""

    def __init__(self):
        self.ids = {}

    async def prepare(self):
        """Connect."""
        pool = pool_of_sentinels()
        self.redis = await create_pool(RedisSettings.from_dsn(settings.redis_url)) if pool is None else pool
        self.redis.default_queue_name = settings.queue

    async def submit(self, task):
        """Enqueue one job."""
        activity = self.ids[task["number"]] = f"{settings.queue}-{task['number']}"
        await self.redis.enqueue_job("numbered", task, _job_id=activity)
        return activity

    async def unfinished(self):
        """How many jobs wait or run."""
        found = [await self.status(activity) for activity in self.ids.values()]
        return sum(status in ("queued", "running") for status in found)

    async def evidence(self):
        """The status of each job, and what is left in the queue."""
        for number, activity in self.ids.items():
            status = await self.status(activity)
            if status is not None:
                yield client.record(number, activity, status)
        held = [one.decode() for one in await self.redis.zrange(settings.queue, 0, -1)]
        running = sum([await self.redis.exists(in_progress_key_prefix + one) for one in held])
        yield client.queue(ready=len(held) - running, leased=running, scheduled=0, dead=0, held=held)

    async def status(self, activity):
        """The status of a job in the words of the harness; None if arq does not have it."""
        job = Job(activity, self.redis, settings.queue)
        result = await job.result_info()
        if result is not None:
            return "complete" if result.success else "error"
        return STATUSES.get(await job.status())


client.serve(Arq())
