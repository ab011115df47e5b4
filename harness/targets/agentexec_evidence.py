"""The evidence of agentexec's activity store: the log and the record of each activity, archived ones included."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, inspect, select

from agentexec.activity import Activity, ActivityLog, Status
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE
from harness.history import CHILD, Operation, OperationType

STORES: tuple[tuple[Any, Any], ...] = (
    (Activity.__table__, ActivityLog.__table__),
    (ACTIVITY_ARCHIVE, LOG_ARCHIVE),
)
"""The activities with their log, and their archives."""

_PART = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRows:
    """The rows of the logs, and those of the activities, of one queue at one moment."""

    log: Sequence[Any]
    activities: Sequence[Any]


def stored_rows(connection: Connection, queue: str, number: Sequence[str]) -> StoredRows:
    """All rows of a queue, by the transaction of the connection.

    `number` is the path to the number of a task in its context; a task that a handler enqueued has none.
    """
    tables = inspect(connection).get_table_names()
    stores = [store for store in STORES if {table.name for table in store} <= set(tables)]
    # In parts: while this process makes rows of a large answer, its transaction is idle, and the server may end it.
    reading = connection.execution_options(yield_per=_PART)
    return StoredRows(
        log=[row for store in stores for row in reading.execute(_log_of(*store, queue, number))],
        activities=[row for store, _ in stores for row in reading.execute(_those_of(store, queue, number))],
    )


def stored_operations(rows: StoredRows, *, results: bool) -> Iterator[Operation]:
    """A `transition` for each entry of the log, and a `record` (or `child`) for each activity.

    A record has the result of its task if `results`.
    """
    yield from _transitions(rows.log)
    yield from _records(rows.activities, results=results)


def remove_queue(connection: Connection, queue: str) -> Sequence[UUID]:
    """Delete the activities of a queue with their logs, archived ones too; returns their ids."""
    archived = select(ACTIVITY_ARCHIVE.c.id).where(ACTIVITY_ARCHIVE.c.queue_name == queue)
    connection.execute(delete(LOG_ARCHIVE).where(LOG_ARCHIVE.c.activity_id.in_(archived)))
    tables: tuple[Any, ...] = (Activity.__table__, ACTIVITY_ARCHIVE)
    return [
        removed
        for table in tables
        for removed in connection.scalars(
            delete(table).where(table.c.queue_name == queue).returning(table.c.id)
        )
    ]


def evidence(process: str, f: str, value: dict[str, Any]) -> Operation:
    """An operation of an evidence source, as of now."""
    return Operation(time=time.monotonic_ns(), process=process, type=OperationType.INFO, f=f, value=value)


def _number(activities: Table, path: Sequence[str]) -> ColumnElement[int | None]:
    number: ColumnElement[int | None] = activities.c.context[tuple(path)].as_integer()
    return number


def _log_of(activities: Table, log: Table, queue: str, number: Sequence[str]) -> Select[Any]:
    row = log.c
    return (
        select(_number(activities, number), row.activity_id, row.fence, row.n, row.status, row.percentage)
        .add_columns(row.created_at)
        .join(activities, activities.c.id == row.activity_id)
        .where(activities.c.queue_name == queue)
        .order_by(row.activity_id, row.fence, row.n)
    )


def _those_of(activities: Table, queue: str, number: Sequence[str]) -> Select[Any]:
    row = activities.c
    query = select(_number(activities, number), row.id, row.status, row.attempt, row.fence, row.agent_type)
    return query.add_columns(row.failures, row.result).where(row.queue_name == queue).order_by(row.id)


def _transitions(rows: Sequence[Any]) -> Iterator[Operation]:
    for task, activity, fence, n, status, percentage, at in rows:
        if task is None:
            continue
        value = {"task": task, "activity": str(activity), "fence": fence, "n": n, "status": _text(status)}
        yield evidence("postgres", "transition", value | {"percentage": percentage, "at": at.timestamp()})


def _records(rows: Sequence[Any], *, results: bool) -> Iterator[Operation]:
    for task, activity, status, attempt, fence, name, failures, result in rows:
        value = {"activity": str(activity), "status": _text(status), "attempt": attempt, "fence": fence}
        value |= {"failures": failures, **({"result": result} if results else {})}
        if task is None:
            yield evidence("postgres", CHILD, {"name": name, **value})
        else:
            yield evidence("postgres", "record", {"task": task, **value})


def _text(status: Status | str) -> str:
    """The archive has the statuses as text."""
    return Status(status).value
