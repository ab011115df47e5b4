"""The evidence of Postgres and Redis at the end of a simulated run, in the vocabulary of every other history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from agentexec.store.dialects import as_uuid, is_postgres, run
from agentexec.store.direct import BY_HAND
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE
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


class SimulatedRows(NamedTuple):
    """The rows of all activities in the order of their ids, and all logs in their order, with those in the archive.

    `numbers` has those of the tasks by the ids of their rows; no activity that is kept by hand has one.
    """

    activities: Sequence[Any]
    entries: Sequence[Any]
    numbers: Mapping[object, int]


def collect_evidence(context: SimulationContext) -> SimulatedRows:
    """Record the store's log and records, and the queue's depth, in the history; returns what the store has."""
    with context.postgres.transaction() as connection:
        activities = _all_activities(connection)
        numbers = {row.id: _number_of(row) for row in activities if row.queue_name != BY_HAND}
        rows = SimulatedRows(activities, _all_entries(connection), numbers)
        recorded = _store(context, rows, postgres=is_postgres(connection))
    depth = context.redis.memory.depth()
    books = context.redis.memory.books
    held = [str(task) for task in books.job if task not in books.reason]
    left = _orphans(books) + [f"letter {task}" for task in books.reason if task not in recorded]
    context.recorder.record("redis", OperationType.INFO, "queue", **asdict(depth), held=held, orphans=left)
    return rows


def pending(connection: Connection) -> int:
    """How many activities of the queue are not terminal, or are canceled and the queue may still have them."""
    waiting = "queue_name <> :by_hand AND (status {pending} OR withdraw_since IS NOT NULL)"
    ((count,),) = run(connection, f"SELECT count(*) FROM {{activity}} WHERE {waiting}", by_hand=BY_HAND)
    return int(count)


def _all_activities(connection: Connection) -> Sequence[Any]:
    columns = "id, queue_name, context, status, attempt, fence, failures, result, error, dead_lettered_at"
    query = f"SELECT {columns} FROM {{activity}} UNION ALL SELECT {columns} FROM {ACTIVITY_ARCHIVE.name}"
    return run(connection, f"{query} ORDER BY id")


def _all_entries(connection: Connection) -> Sequence[Any]:
    columns = "activity_id, fence, n, status, message, percentage, created_at"
    query = f"SELECT {columns} FROM {{log}} UNION ALL SELECT {columns} FROM {LOG_ARCHIVE.name}"
    return run(connection, f"{query} ORDER BY activity_id, fence, n")


def _number_of(row: Any) -> int:
    """The number of the task of a row; SQLite returns the text of its context."""
    context = json.loads(row.context) if isinstance(row.context, str) else row.context
    return int(context["number"])


def _orphans(books: Books) -> list[str]:
    """What the books hold for tasks or workers that they do not know."""
    owned: dict[str, Iterable[object]] = {name: getattr(books, name) for name in (*OF_TASKS, *OF_WORKERS)}
    owned |= {
        "busy": books.busy.values(),
        "parked": chain(*books.parked.values()),
        "ready": chain(*books.ready),
    }
    return orphans(owned, tasks=books.job, workers=books.seen)


def _store(context: SimulationContext, stored: SimulatedRows, *, postgres: bool) -> set[UUID]:
    """Record what the store has of the tasks; returns their ids."""
    record = context.recorder.record
    value_of = _as_it_is if postgres else _from_text
    rows = [row for row in stored.activities if row.id in stored.numbers]
    tasks = {
        row_id: {"task": number, "activity": str(as_uuid(row_id))}
        for row_id, number in stored.numbers.items()
    }
    for row in stored.entries:
        if row.activity_id not in tasks:
            continue
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
    return {as_uuid(row.id) for row in rows}


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
