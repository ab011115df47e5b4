"""Procrastinate with its asynchronous connector."""

import asyncio

import peer_kit as kit
import procrastinate

CONCURRENCY = 16

# A connection for each running task.
pool = {"min_size": 1, "max_size": CONCURRENCY}
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=kit.settings.database_url, **pool))


@app.task(name="perform")
async def perform(number, work):
    """Do the work of a task."""
    await kit.run_async(kit.task_of(number, work))


class ProcrastinateProducer(kit.Producer):
    """A producer of Procrastinate."""

    is_concurrent = True

    async def connect(self):
        """Connect."""
        await app.open_async()

    async def install(self):
        """Create the tables."""
        await app.schema_manager.apply_schema_async()

    async def enqueue(self, task):
        """Defer one job."""
        await perform.defer_async(**task)

    async def enqueue_many(self, tasks):
        """Defer jobs with one statement."""
        await perform.batch_defer_async(*tasks)

    async def unfinished(self):
        """Jobs that wait or run."""
        query = (
            "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status IN ('todo', 'doing', 'aborting')"
        )
        return (await app.connector.execute_query_one_async(query))["jobs"]

    async def close(self):
        """Disconnect."""
        await app.close_async()


async def _work():
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)


def work():
    """One worker process."""
    asyncio.run(_work())


producer = ProcrastinateProducer()
