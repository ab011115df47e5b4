"""The evidence of Postgres and Redis at the end of a simulated run, in the vocabulary of every other history."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from agentexec.store.dialects import as_uuid, is_postgres, run
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
    recorded = {as_uuid(row.id) for row in rows}
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
    value_of = _as_it_is if is_postgres(connection) else _from_text
    rows = run(
        connection,
        """SELECT id, context, status, attempt, fence, failures, result, error, dead_lettered_at
        FROM {activity} ORDER BY id""",
    )
    tasks = {
        row.id: {"task": value_of(row.context)["number"], "activity": str(as_uuid(row.id))} for row in rows
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
            at=_unix(row.created_at),
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
            result=value_of(row.result),
            **({CRASHED: True} if (row.error or "").startswith(BY_CRASHES) else {}),
            **({LETTER: True} if row.dead_lettered_at is not None else {}),
        )
    for row in rows:
        if (text := context.redis.memory.result(as_uuid(row.id))) is not None:
            record("redis", OperationType.INFO, RESULT, **tasks[row.id], result=json.loads(text))


def _from_text(value: str | None) -> Any:
    """A JSON value of SQLite, which returns its text."""
    return None if value is None else json.loads(value)


def _as_it_is(value: Any) -> Any:
    """A JSON value of Postgres."""
    return value


def _unix(time: datetime | str) -> float:
    """A time of the store as Unix time; SQLite returns its text, which is in UTC."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time).replace(tzinfo=UTC)
    return time.timestamp()
