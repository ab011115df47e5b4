"""The evidence of Postgres and Redis at the end of a simulated run, in the vocabulary of every other history."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from uuid import UUID

from sqlalchemy import Connection

from agentexec.store.dialects import run
from harness.history import OperationType
from harness.history.names import RESULT
from harness.simulation.context import SimulationContext
from harness.simulation.crash_charges import BY_CRASHES
from harness.simulation.queue.books import Books
from harness.targets.queue_owners import OF_TASKS, OF_WORKERS, orphans

# The key of a record that ended after too many crashes.
CRASHED = "crashed"
# The key of a record that is noted as a dead letter.
LETTER = "letter"


def collect_evidence(context: SimulationContext) -> None:
    """Record the store's log and records, and the queue's depth, in the history."""
    with context.postgres.transaction() as connection:
        _store(context, connection)
        rows = run(
            connection, "SELECT id FROM {activity} WHERE queue_name = :queue", queue=context.redis.memory.name
        )
    recorded = {UUID(row.id) for row in rows}
    depth = context.redis.memory.depth()
    books = context.redis.memory.books
    held = [str(task) for task in books.job if task not in books.reason]
    left = _orphans(books) + [f"letter {task}" for task in books.reason if task not in recorded]
    context.recorder.record("redis", OperationType.INFO, "queue", **asdict(depth), held=held, orphans=left)


def pending(connection: Connection) -> int:
    """How many activities are not terminal."""
    ((count,),) = run(connection, "SELECT count(*) FROM {activity} WHERE status {pending}")
    return int(count)


def _orphans(books: Books) -> list[str]:
    """What the books hold for tasks or workers that they do not know."""
    owned: dict[str, Iterable[object]] = {name: getattr(books, name) for name in (*OF_TASKS, *OF_WORKERS)}
    owned |= {
        "busy": books.busy.values(),
        "parked": chain(*books.parked.values()),
        "ready": chain(*books.ready),
    }
    return orphans(owned, tasks=books.job, workers=books.seen)


def _store(context: SimulationContext, connection: Connection) -> None:
    record = context.recorder.record
    rows = run(
        connection,
        """SELECT id, context, status, attempt, fence, failures, result, error, dead_lettered_at
        FROM {activity} ORDER BY id""",
    )
    tasks = {
        row.id: {"task": json.loads(row.context)["number"], "activity": str(UUID(row.id))} for row in rows
    }
    log = run(
        connection,
        """SELECT activity_id, fence, n, status, percentage, created_at FROM {log}
        ORDER BY activity_id, fence, n""",
    )
    for row in log:
        record(
            "postgres",
            OperationType.INFO,
            "transition",
            **tasks[row.activity_id],
            fence=row.fence,
            n=row.n,
            status=row.status,
            percentage=row.percentage,
            at=datetime.fromisoformat(row.created_at).replace(tzinfo=UTC).timestamp(),
        )
    for row in rows:
        record(
            "postgres",
            OperationType.INFO,
            "record",
            **tasks[row.id],
            status=row.status,
            attempt=row.attempt,
            fence=row.fence,
            failures=row.failures,
            result=None if row.result is None else json.loads(row.result),
            **({CRASHED: True} if (row.error or "").startswith(BY_CRASHES) else {}),
            **({LETTER: True} if row.dead_lettered_at is not None else {}),
        )
    for row in rows:
        if (text := context.redis.memory.result(UUID(row.id))) is not None:
            record("redis", OperationType.INFO, RESULT, **tasks[row.id], result=json.loads(text))
