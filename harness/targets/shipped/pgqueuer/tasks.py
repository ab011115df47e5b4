"""The entrypoint of PgQueuer, and one worker process."""

import asyncio
import json
import os
import re
from contextlib import asynccontextmanager
from datetime import timedelta

from harness_worker import settings, worker

SCHEMA = re.sub(r"\W", "_", settings.queue).lower()[-63:]
"""The Postgres schema of the run. PgQueuer reads it from the environment when it is imported."""
os.environ["PGQUEUER_SCHEMA"] = SCHEMA

import pgqueuer  # noqa: E402 - after the schema is set
import psycopg  # noqa: E402 - after the schema is set


def activity_of(number):
    """The id of a task: the client chooses it, so that it knows a job whose id never arrived."""
    return f"{settings.queue}-{number}"


def connect():
    """A new connection."""
    return psycopg.AsyncConnection.connect(settings.database_url, autocommit=True)


@asynccontextmanager
async def main():
    """The manager of one worker process."""
    async with await connect() as connection:
        manager = pgqueuer.PgQueuer.from_psycopg_connection(connection)

        @manager.entrypoint("numbered")
        async def numbered(job):
            task = json.loads(job.payload)
            async with worker.run(task, activity=activity_of(task["number"])):
                pass

        worker.hello()
        yield manager


BATCH = max(1, settings.concurrency // 2)

if __name__ == "__main__":
    # As `pgq run` does. The command itself fails at its start with current versions of its argument parser.
    asyncio.run(
        pgqueuer.run(
            main,
            heartbeat_timeout=timedelta(seconds=settings.lease),
            dequeue_timeout=timedelta(seconds=2),
            batch_size=BATCH,
            max_concurrent_tasks=2 * BATCH,
            shutdown_on_listener_failure=settings.profile == "listener",
        )
    )
