"""The app of Procrastinate with its tasks, and one worker process."""

import asyncio
import re

from harness_worker import settings, worker
from procrastinate import App, PsycopgConnector

# Postgres has names of at most 63 bytes. The queues are in the schema of the run, so that their names may be fixed.
SCHEMA = re.sub(r"\W", "_", settings.queue)[-63:]
NUMBERED, MAINTENANCE = "numbered", "maintenance"


def connected_app(**pool):
    """An app whose tables are in a Postgres schema of the run."""
    kwargs = {"options": f"-c search_path={SCHEMA}"}
    return App(connector=PsycopgConnector(conninfo=settings.database_url, kwargs=kwargs, **pool))


def activity_of(task):
    """The id of a task: the client chooses it, so that it knows a job whose id never arrived."""
    return f"{settings.queue}-{task['number']}"


app = connected_app()


@app.task(name="numbered", queue=NUMBERED, pass_context=True)
async def numbered(context, task):
    """Run one task of the harness."""
    async with worker.run(task, activity=activity_of(task), attempt=context.job.attempts):
        pass


if settings.profile == "stalled":

    @app.periodic(cron="* * * * * */2")
    @app.task(queueing_lock="retry_stalled_jobs", pass_context=True, queue=MAINTENANCE)
    async def retry_stalled_jobs(context, timestamp):
        """The periodic task of the documentation, with a shorter time."""
        del context, timestamp
        stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=settings.lease)
        for job in stalled:
            await app.job_manager.retry_job(job)


HEARTBEATS = {"update_heartbeat_interval": 1.0, "stalled_worker_timeout": settings.lease}


async def main():
    """Run one worker until SIGTERM."""
    async with app.open_async():
        worker.hello()
        await app.run_worker_async(
            queues=[NUMBERED, MAINTENANCE],
            concurrency=settings.concurrency,
            **(HEARTBEATS if settings.profile == "stalled" else {}),
        )


if __name__ == "__main__":
    asyncio.run(main())
