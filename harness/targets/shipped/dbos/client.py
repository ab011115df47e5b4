"""Enqueues workflows under ids of its own, and reads their status."""

from collections import Counter

import psycopg
from dbos import DBOSClient, run_dbos_database_migrations
from harness_worker import client, settings
from workflows import QUEUE, SCHEMA, WORKFLOW

STATUSES = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "complete",
    "ERROR": "error",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "error",
    "CANCELLED": "canceled",  # codespell:ignore cancelled
}


class Dbos:
    """One system database of DBOS, in a schema of the run."""

    def __init__(self):
        self.dbos = None
        self.numbers = {}

    def prepare(self):
        """Create the system tables, and connect."""
        run_dbos_database_migrations(settings.database_url, schema=SCHEMA)
        self.dbos = DBOSClient(system_database_url=settings.database_url, dbos_system_schema=SCHEMA)

    def submit(self, task):
        """Enqueue one workflow."""
        activity = f"{settings.queue}-{task['number']}"
        self.numbers[activity] = task["number"]
        options = {"queue_name": QUEUE, "workflow_name": WORKFLOW, "workflow_id": activity}
        self.dbos.enqueue(options, task)
        return activity

    def statuses(self):
        """The status of each workflow by its id, in the words of the harness."""
        found = self.dbos.list_workflows(name=WORKFLOW, load_input=False, load_output=False)
        return {one.workflow_id: STATUSES[one.status] for one in found}

    def unfinished(self):
        """How many workflows wait or run."""
        return sum(status in ("queued", "running") for status in self.statuses().values())

    def evidence(self):
        """The status of each workflow, and what is left in the queue."""
        statuses = self.statuses()
        for activity, status in statuses.items():
            yield client.record(self.numbers[activity], activity, status)
        left = Counter(statuses.values())
        held = [activity for activity, status in statuses.items() if status in ("queued", "running")]
        yield client.queue(ready=left["queued"], leased=left["running"], held=held)

    def close(self):
        """Drop the schema of the run."""
        self.dbos.destroy()
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA "{SCHEMA}" CASCADE')


client.serve(Dbos())
