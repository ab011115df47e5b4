"""Enqueues jobs, and reads their status from the table of jobs and from the log."""

import json
from collections import Counter

from harness_worker import client
from pgqueuer.db import PsycopgDriver
from pgqueuer.queries import Queries
from tasks import SCHEMA, activity_of, connect

STATUSES = {
    "queued": "queued",
    "picked": "running",
    "successful": "complete",
    "exception": "error",
    "failed": "error",
    "canceled": "canceled",
    "deleted": "canceled",
}
# A job in the table of jobs has not ended; its last row in the log says how another one did.
STATUS_OF_PRIORITY = """
    SELECT priority, status::text FROM "{0}".pgqueuer
    UNION ALL
    (SELECT DISTINCT ON (job_id) priority, status::text FROM "{0}".pgqueuer_log
        WHERE job_id NOT IN (SELECT id FROM "{0}".pgqueuer) ORDER BY job_id, id DESC)
"""


class Pgqueuer:
    """One installation of PgQueuer in a schema of the run."""

    async def prepare(self):
        """Create the schema and the tables."""
        async with await connect() as connection:
            await Queries(PsycopgDriver(connection)).install()

    async def submit(self, task):
        """Enqueue one job."""
        async with await connect() as connection:
            queries = Queries(PsycopgDriver(connection))
            await queries.enqueue("numbered", json.dumps(task).encode(), priority=-task["number"])
        return activity_of(task["number"])

    async def statuses(self):
        """The status of each job by its number, in the words of the harness."""
        async with await connect() as connection:
            found = await connection.execute(STATUS_OF_PRIORITY.format(SCHEMA))
            return {-priority: STATUSES[status] for priority, status in await found.fetchall()}

    async def unfinished(self):
        """How many jobs wait or run."""
        return sum(status in ("queued", "running") for status in (await self.statuses()).values())

    async def evidence(self):
        """The status of each job, and what is left in the queue."""
        statuses = await self.statuses()
        for number, status in statuses.items():
            yield client.record(number, activity_of(number), status)
        left = Counter(statuses.values())
        held = [activity_of(one) for one, status in statuses.items() if status in ("queued", "running")]
        yield client.queue(ready=left["queued"], leased=left["running"], held=held)

    async def close(self):
        """Drop the schema of the run."""
        async with await connect() as connection:
            await connection.execute(f'DROP SCHEMA "{SCHEMA}" CASCADE')


client.serve(Pgqueuer())
