"""Defers jobs, and reads their status from the table of jobs."""

from collections import Counter
from datetime import datetime, timezone

import psycopg
from harness_worker import client, settings
from tasks import NUMBERED, SCHEMA, activity_of, connected_app

STATUSES = {
    "todo": "queued",
    "doing": "running",
    "aborting": "running",
    "succeeded": "complete",
    "failed": "error",
    "cancelled": "canceled",  # codespell:ignore cancelled
    "aborted": "canceled",
}
# A call that waits for a connection longer than this has failed.
CONNECTION_SECONDS = 10.0


class Procrastinate:
    """One queue of Procrastinate."""

    def __init__(self):
        self.app = connected_app(timeout=CONNECTION_SECONDS)

    async def prepare(self):
        """Create the tables in a schema of the run."""
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{SCHEMA}"')
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()

    async def submit(self, task):
        """Defer one job."""
        await self.app.configure_task("numbered", queue=NUMBERED).defer_async(task=task)
        return activity_of(task)

    async def jobs(self):
        """The jobs of the run, each with its status in the words of the harness."""
        found = await self.app.job_manager.list_jobs_async(queue=NUMBERED)
        return [(job, STATUSES[job.status]) for job in found]

    async def unfinished(self):
        """How many jobs wait or run."""
        return sum(status in ("queued", "running") for _, status in await self.jobs())

    async def evidence(self):
        """The status of each job, and what is left in the queue."""
        jobs = await self.jobs()
        for job, status in jobs:
            task = job.task_kwargs["task"]
            yield client.record(task["number"], activity_of(task), status)
        now = datetime.now(timezone.utc)
        waiting = [job for job, status in jobs if status == "queued"]
        scheduled = sum(job.scheduled_at is not None and job.scheduled_at > now for job in waiting)
        yield client.queue(
            ready=len(waiting) - scheduled,
            leased=Counter(status for _, status in jobs)["running"],
            scheduled=scheduled,
            held=[
                activity_of(job.task_kwargs["task"])
                for job, status in jobs
                if status in ("queued", "running")
            ],
        )

    async def close(self):
        """Drop the schema of the run."""
        await self.app.close_async()
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA "{SCHEMA}" CASCADE')


client.serve(Procrastinate())
