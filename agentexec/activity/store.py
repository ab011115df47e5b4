"""Every statement that changes the record. Each is fenced, safe to send again, and takes a whole batch.

A batch travels as one JSON parameter, so the text of a statement never depends on the number of rows and the server plans
it once. Callers own the transaction: they pass a connection that is inside one. Rows of a batch are put in order of their
id, which keeps two batches from locking the same rows in opposite order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from agentexec.activity.models import ACTIVITY_TABLE, LOG_TABLE
from agentexec.activity.status import Status

ENQUEUE_FENCE = 0  # the fence of entries written before any worker held the task


@dataclass(frozen=True, kw_only=True, slots=True)
class NewActivity:
    """An activity to be recorded as QUEUED. `context` and `metadata` are JSON values, `delay` is in seconds."""

    id: UUID
    queue_name: str
    task_name: str
    context: Any
    priority: int
    message: str
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """Progress of a running task: entry `n` of the holder of `token`."""

    id: UUID
    token: int
    n: int
    message: str
    percentage: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the holder of `token` ends its claim; `n` is the number of the log entry that says so."""

    id: UUID
    token: int
    n: int
    status: Status
    message: str
    percentage: int | None = None
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What the record says of an activity right now."""

    id: UUID
    status: Status
    fence: int
    attempt: int
    cancel_requested: bool


def insert(connection: Connection, activities: Sequence[NewActivity]) -> dict[UUID, UUID]:
    """Record activities as QUEUED with their first log entry.

    Returns for each id the id under which the task is recorded: its own, or that of the earlier activity with the same
    idempotency key.
    """
    rows = [
        {
            "id": _id(a.id),
            "queue_name": a.queue_name,
            "agent_type": a.task_name,
            "priority": a.priority,
            "context": a.context,
            "metadata": a.metadata,
            "idempotency_key": a.idempotency_key,
            "delay": a.delay,
            "message": a.message,
        }
        for a in activities
    ]
    columns = {
        "id": "uuid",
        "queue_name": "text",
        "agent_type": "text",
        "priority": "smallint",
        "context": "jsonb",
        "metadata": "jsonb",
        "idempotency_key": "text",
        "delay": "float8",
        "message": "text",
    }
    written = _run(
        connection,
        f"""INSERT INTO {ACTIVITY_TABLE} (id, agent_id, queue_name, agent_type, status, fence, attempt, priority, context, metadata,
                idempotency_key, created_at, updated_at, run_after)
            SELECT v.id, v.id, v.queue_name, v.agent_type, 'queued', 0, 0, v.priority, v.context, v.metadata, v.idempotency_key, :now, :now,
                CASE WHEN v.delay > 0 THEN :later END
            FROM :rows AS v WHERE true
            ON CONFLICT DO NOTHING RETURNING id""",
        rows,
        columns,
    )
    fresh = {as_uuid(row.id) for row in written}
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, {ENQUEUE_FENCE}, 0, 'queued', v.message, 0, :now FROM :rows AS v WHERE true
            ON CONFLICT DO NOTHING""",
        [row for row, a in zip(rows, activities, strict=True) if a.id in fresh],
        columns,
    )
    return {a.id: a.id for a in activities if a.id in fresh} | _earlier(
        connection, [a for a in activities if a.id not in fresh]
    )


def start(connection: Connection, tokens: Mapping[UUID, int], message: str) -> dict[UUID, int]:
    """Move activities to RUNNING under their new tokens; returns the attempt number of each that may run.

    One that is terminal, has a cancel request, or was started under a higher token is left out. Sending the same start
    again answers the same.
    """
    rows = [{"id": _id(i), "token": token, "message": message} for i, token in tokens.items()]
    columns = {"id": "uuid", "token": "bigint", "message": "text"}
    started = _run(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET status = 'running', fence = v.token, updated_at = :now,
                attempt = attempt + CASE WHEN a.fence < v.token THEN 1 ELSE 0 END
            FROM :rows AS v
            WHERE a.id = v.id AND cancel_requested_at IS NULL
              AND (status = 'queued' AND fence < v.token OR status = 'running' AND fence <= v.token)
            RETURNING a.id, a.attempt""",
        rows,
        columns,
    )
    attempts = {as_uuid(row.id): int(row.attempt) for row in started}
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, v.token, 0, 'running', v.message, 0, :now FROM :rows AS v WHERE true ON CONFLICT DO NOTHING""",
        [row for row, i in zip(rows, tokens, strict=True) if i in attempts],
        columns,
    )
    return attempts


def finish(connection: Connection, outcomes: Sequence[Outcome]) -> dict[UUID, Status]:
    """End claims: each RUNNING row that still carries the token moves to the outcome's status, with its last log entry.

    A retry or release (status QUEUED) of a row that somebody wants cancelled becomes CANCELED. Returns the status each
    accepted activity has now; refused ones are left out, unless this very outcome had been written before.
    """
    columns = {
        "id": "uuid",
        "token": "bigint",
        "n": "int",
        "status": "text",
        "message": "text",
        "percentage": "smallint",
        "result": "jsonb",
        "error": "text",
    }
    rows = [
        {
            "id": _id(o.id),
            "token": o.token,
            "n": o.n,
            "status": o.status.value,
            "message": o.message,
            "percentage": o.percentage,
            "result": o.result,
            "error": o.error,
        }
        for o in outcomes
    ]
    ended = _run(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET updated_at = :now, result = v.result, error = v.error,
                status = CASE WHEN v.status = 'queued' AND a.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE v.status END
            FROM :rows AS v WHERE a.id = v.id AND a.fence = v.token AND a.status = 'running'
            RETURNING a.id, a.status""",
        rows,
        columns,
    )
    accepted = {as_uuid(row.id): Status(row.status) for row in ended}
    written = [
        row | {"status": accepted[o.id].value}
        for row, o in zip(rows, outcomes, strict=True)
        if o.id in accepted
    ]
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, v.token, v.n, v.status, v.message, v.percentage, :now FROM :rows AS v WHERE true
            ON CONFLICT DO NOTHING""",
        written,
        columns,
    )
    return accepted | _already(connection, [o for o in outcomes if o.id not in accepted])


def append(connection: Connection, entries: Sequence[LogEntry]) -> None:
    """Write progress entries of tasks that still run under the same token; others are refused silently.

    The row is locked against a change of status while its log grows, so an entry never follows the end of its claim.
    """
    columns = {"id": "uuid", "token": "bigint", "n": "int", "message": "text", "percentage": "smallint"}
    rows = [
        {"id": _id(e.id), "token": e.token, "n": e.n, "message": e.message, "percentage": e.percentage}
        for e in entries
    ]
    lock = " FOR SHARE OF a" if connection.dialect.name == "postgresql" else ""
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, v.token, v.n, 'running', v.message, v.percentage, :now
            FROM :rows AS v JOIN {ACTIVITY_TABLE} AS a ON a.id = v.id AND a.fence = v.token AND a.status = 'running'
            WHERE true{lock} ON CONFLICT DO NOTHING""",
        rows,
        columns,
    )


def bear_witness(
    connection: Connection, tokens: Mapping[UUID, int], status: Status, message: str, error: str | None = None
) -> set[UUID]:
    """Speak for holders that cannot: move RUNNING rows still under these lost tokens to QUEUED (released, reaped) or ERROR.

    The log entry takes the next free number of that token. Returns the ids that moved; a row whose holder's own last word
    came first, or that runs again already, is left alone.
    """
    columns = {"id": "uuid", "token": "bigint", "status": "text", "message": "text", "error": "text"}
    rows = [
        {"id": _id(i), "token": token, "status": status.value, "message": message, "error": error}
        for i, token in tokens.items()
    ]
    moved = _run(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET updated_at = :now, error = v.error,
                status = CASE WHEN a.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE v.status END
            FROM :rows AS v WHERE a.id = v.id AND a.fence = v.token AND a.status = 'running'
            RETURNING a.id, a.status""",
        rows,
        columns,
    )
    now_is = {as_uuid(row.id): str(row.status) for row in moved}
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, created_at)
            SELECT v.id, v.token, (SELECT coalesce(max(n), -1) + 1 FROM {LOG_TABLE} WHERE activity_id = v.id AND fence = v.token),
                v.status, v.message, :now FROM :rows AS v WHERE true""",
        [row | {"status": now_is[i]} for row, i in zip(rows, tokens, strict=True) if i in now_is],
        columns,
    )
    return set(now_is)


def end_unstarted(
    connection: Connection, tokens: Mapping[UUID, int], status: Status, message: str, error: str | None = None
) -> set[UUID]:
    """End activities that never ran under these tokens and never will: CANCELED on request, ERROR when dead-lettered.

    The token becomes the row's fence, so an older holder that wakes up later is refused. Returns the ids that ended.
    """
    columns = {"id": "uuid", "token": "bigint", "status": "text", "message": "text", "error": "text"}
    rows = [
        {"id": _id(i), "token": token, "status": status.value, "message": message, "error": error}
        for i, token in tokens.items()
    ]
    ended = _run(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET status = v.status, fence = v.token, error = v.error, updated_at = :now
            FROM :rows AS v WHERE a.id = v.id AND a.fence < v.token AND a.status IN ('queued', 'running') RETURNING a.id""",
        rows,
        columns,
    )
    ids = {as_uuid(row.id) for row in ended}
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, created_at)
            SELECT v.id, v.token, 0, v.status, v.message, :now FROM :rows AS v WHERE true ON CONFLICT DO NOTHING""",
        [row for row, i in zip(rows, tokens, strict=True) if i in ids],
        columns,
    )
    return ids


def request_cancel(connection: Connection, ids: Sequence[UUID], message: str) -> dict[UUID, Status]:
    """Cancel QUEUED activities at once and flag RUNNING ones; returns where each pending one stands now.

    Terminal activities are left as they are and left out of the answer.
    """
    rows = [{"id": _id(i), "message": message} for i in ids]
    columns = {"id": "uuid", "message": "text"}
    touched = _run(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET cancel_requested_at = coalesce(cancel_requested_at, :now), updated_at = :now,
                status = CASE WHEN status = 'queued' THEN 'canceled' ELSE status END
            FROM :rows AS v WHERE a.id = v.id AND status IN ('queued', 'running') RETURNING a.id, a.status""",
        rows,
        columns,
    )
    standing = {as_uuid(row.id): Status(row.status) for row in touched}
    _run(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, created_at)
            SELECT a.id, a.fence, (SELECT coalesce(max(n), -1) + 1 FROM {LOG_TABLE} WHERE activity_id = a.id AND fence = a.fence),
                'canceled', v.message, :now
            FROM :rows AS v JOIN {ACTIVITY_TABLE} AS a ON a.id = v.id WHERE true""",
        [row for row, i in zip(rows, ids, strict=True) if standing.get(i) is Status.CANCELED],
        columns,
    )
    return standing


def mark_dispatched(connection: Connection, ids: Iterable[UUID]) -> None:
    """Say that the queue has these activities."""
    _run(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET dispatched_at = :now FROM :rows AS v
            WHERE a.id = v.id AND dispatched_at IS NULL RETURNING a.id""",
        [{"id": _id(i)} for i in ids],
        {"id": "uuid"},
    )


def standings(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Standing]:
    """Where activities stand; unknown ids are left out."""
    found = _run(
        connection,
        f"""SELECT a.id, a.status, a.fence, a.attempt, a.cancel_requested_at IS NOT NULL AS cancel_requested
            FROM {ACTIVITY_TABLE} AS a JOIN :rows AS v ON a.id = v.id""",
        [{"id": _id(i)} for i in ids],
        {"id": "uuid"},
    )
    return {
        as_uuid(row.id): Standing(
            id=as_uuid(row.id),
            status=Status(row.status),
            fence=int(row.fence),
            attempt=int(row.attempt),
            cancel_requested=bool(row.cancel_requested),
        )
        for row in found
    }


def pending(connection: Connection, ids: Sequence[UUID]) -> list[NewActivity]:
    """Activities that are not over, as they were enqueued; `delay` is what is left of theirs. The rest is left out."""
    left = (
        "extract(epoch FROM run_after - clock_timestamp())"
        if connection.dialect.name == "postgresql"
        else "(julianday(run_after) - julianday('now')) * 86400"
    )
    found = _run(
        connection,
        f"""SELECT a.id, a.queue_name, a.agent_type, a.context, a.priority, {left} AS delay
            FROM {ACTIVITY_TABLE} AS a JOIN :rows AS v ON a.id = v.id WHERE a.status IN ('queued', 'running') ORDER BY a.id""",
        [{"id": _id(i)} for i in ids],
        {"id": "uuid"},
    )
    return [
        NewActivity(
            id=as_uuid(row.id),
            queue_name=row.queue_name,
            task_name=row.agent_type,
            context=json.loads(row.context) if isinstance(row.context, str) else row.context,
            priority=int(row.priority),
            message="",
            delay=max(0.0, float(row.delay or 0)),
        )
        for row in found
    ]


def _already(connection: Connection, outcomes: Sequence[Outcome]) -> dict[UUID, Status]:
    """Outcomes that a lost reply made us send twice: the row carries our token and our status."""
    now = standings(connection, [o.id for o in outcomes])
    return {
        o.id: now[o.id].status
        for o in outcomes
        if o.id in now and now[o.id].fence == o.token and now[o.id].status in (o.status, Status.CANCELED)
    }


def _earlier(connection: Connection, refused: Sequence[NewActivity]) -> dict[UUID, UUID]:
    """Activities that were recorded before: under the same id (sent again) or the same idempotency key."""
    found = _run(
        connection,
        f"""SELECT v.id AS asked, a.id AS recorded FROM :rows AS v
            JOIN {ACTIVITY_TABLE} AS a ON a.id = v.id OR a.idempotency_key = v.idempotency_key""",
        [{"id": _id(a.id), "idempotency_key": a.idempotency_key} for a in refused],
        {"id": "uuid", "idempotency_key": "text"},
    )
    return {as_uuid(row.asked): as_uuid(row.recorded) for row in found}


def _run(
    connection: Connection, sql: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> Sequence[Any]:
    """Run a statement over a batch. `:rows` becomes a relation with the named columns, `:now` the server's clock."""
    if not rows:
        return ()
    postgres = connection.dialect.name == "postgresql"
    dialect = _postgres if postgres else _sqlite
    statement = dialect(sql, columns)
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    result = connection.execute(text(statement), {"batch": json.dumps(ordered, separators=(",", ":"))})
    return result.all() if result.returns_rows else ()


def _postgres(sql: str, columns: Mapping[str, str]) -> str:
    # clock_timestamp, since now() stands still for the whole transaction and progress entries may share one.
    shape = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    relation = f"jsonb_to_recordset(CAST(:batch AS jsonb)) AS v({shape})"
    return (
        sql.replace(":rows AS v", relation)
        .replace(":now", "clock_timestamp()")
        .replace(":later", "clock_timestamp() + v.delay * interval '1 second'")
    )


def _sqlite(sql: str, columns: Mapping[str, str]) -> str:
    # JSON columns stay text; SQLAlchemy's JSON type writes and reads exactly that.
    picked = ", ".join(
        f"value -> '$.{name}' AS {name}" if kind == "jsonb" else f"value ->> '$.{name}' AS {name}"
        for name, kind in columns.items()
    )
    relation = f"(SELECT {picked} FROM json_each(:batch)) AS v"
    now = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
    later = "strftime('%Y-%m-%d %H:%M:%f000', 'now', v.delay || ' seconds')"
    # SQLite's RETURNING knows only the changed table, and no alias of it.
    body, returning, names = sql.partition("RETURNING")
    sql = body + returning + names.replace("a.", "")
    return sql.replace(":rows AS v", relation).replace(":now", now).replace(":later", later)


def _id(value: UUID) -> str:
    return value.hex  # Postgres reads it as a UUID; SQLite stores it as SQLAlchemy's Uuid type does


def as_uuid(value: Any) -> UUID:
    """An id as a driver returns it: Postgres gives a UUID, SQLite its hexadecimal text."""
    return value if isinstance(value, UUID) else UUID(str(value))


def as_key(connection: Connection, value: UUID) -> UUID | str:
    """An id as a driver wants it for a comparison."""
    return value if connection.dialect.name == "postgresql" else value.hex
