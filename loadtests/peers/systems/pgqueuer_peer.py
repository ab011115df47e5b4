"""PgQueuer with one of its drivers: a pool of connections for producers, one connection for each worker process."""

import json
from contextlib import asynccontextmanager

import peer_kit as kit
import pgqueuer
import uvloop
from pgqueuer.db import AsyncpgPoolDriver, PsycopgDriver
from pgqueuer.queries import Queries

BATCH_SIZE = 100
IS_ASYNCPG = kit.settings.variant == "asyncpg"

if IS_ASYNCPG:
    import asyncpg
else:
    import psycopg


async def connect():
    """A connection of the driver."""
    if IS_ASYNCPG:
        return await asyncpg.connect(kit.settings.database_url)
    return await psycopg.AsyncConnection.connect(kit.settings.database_url, autocommit=True)


class PgqueuerProducer(kit.Producer):
    """A producer of PgQueuer. It has no pool for psycopg, so that concurrent callers share one connection."""

    is_concurrent = True
    run = staticmethod(uvloop.run)

    async def connect(self):
        """Connect."""
        if IS_ASYNCPG:
            self.pool = await asyncpg.create_pool(kit.settings.database_url)
            self.queries = Queries(AsyncpgPoolDriver(self.pool))
        else:
            self.queries = Queries(PsycopgDriver(await connect()))

    async def install(self):
        """Create the tables, with the settings for autovacuum that the documentation recommends."""
        await self.queries.install()
        await self.queries.optimize_autovacuum()

    async def enqueue(self, task):
        """Enqueue one job."""
        await self.queries.enqueue("perform", json.dumps(task).encode())

    async def enqueue_many(self, tasks):
        """Enqueue jobs with one statement."""
        payloads = [json.dumps(task).encode() for task in tasks]
        await self.queries.enqueue(["perform"] * len(tasks), payloads, [0] * len(tasks))

    async def unfinished(self):
        """Jobs that are not in the log only."""
        [row] = await self.queries.driver.fetch("SELECT count(*) AS jobs FROM pgqueuer")
        return row["jobs"]


@asynccontextmanager
async def main():
    """The manager of one worker process."""
    connection = await connect()
    make = (
        pgqueuer.PgQueuer.from_asyncpg_connection if IS_ASYNCPG else pgqueuer.PgQueuer.from_psycopg_connection
    )
    manager = make(connection)

    @manager.entrypoint("perform")
    async def perform(job):
        await kit.run_async(json.loads(job.payload))

    yield manager
    await connection.close()


def work():
    """One worker process, as `pgq run` runs it."""
    uvloop.run(pgqueuer.run(main, batch_size=BATCH_SIZE))


producer = PgqueuerProducer()
