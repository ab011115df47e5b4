"""Every statement that changes the record. Each is fenced, safe to send again, and takes a whole batch.

Callers own the transaction: they pass a connection that is inside one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from agentexec.store.batch import as_text, as_uuid, run_batch
from agentexec.store.models import ACTIVITY_TABLE, LOG_TABLE
from agentexec.store.reading import standings
from agentexec.store.rows import ActivityUpdate, LogEntry, NewActivity, Started
from agentexec.store.status import Status

NEW_COLUMNS = {
    "id": "uuid",
    "queue_name": "text",
    "agent_type": "text",
    "priority": "smallint",
    "context": "jsonb",
    "metadata": "jsonb",
    "idempotency_key": "text",
    "lock_key": "text",
    "delay": "float8",
    "message": "text",
}
OUTCOME_COLUMNS = {
    "id": "uuid",
    "token": "bigint",
    "n": "int",
    "status": "text",
    "message": "text",
    "percentage": "smallint",
    "result": "jsonb",
    "error": "text",
    "failed": "int",
}
# The queue sees to that, but it may have lost its memory of who has a lock key. What runs already is not asked again:
# two that began at one moment, each unseen by the other, must not keep each other out for ever when their workers die.
NOBODY_HAS_THE_LOCK = f"""(a.status = 'running' OR coalesce(a.lock_key, v.lock_key) IS NULL OR NOT EXISTS (
    SELECT 1 FROM {ACTIVITY_TABLE} AS o WHERE o.queue_name = a.queue_name AND o.id <> a.id
    AND o.lock_key = coalesce(a.lock_key, v.lock_key) AND o.status = 'running'))"""
NO_LOCK_KEYS: Mapping[UUID, str] = MappingProxyType({})
ENQUEUE_FENCE = 0  # the fence of entries written before any worker held the task


def insert(connection: Connection, activities: Sequence[NewActivity]) -> dict[UUID, UUID]:
    """Record activities as QUEUED with their first log entry.

    Returns for each id the id under which the task is recorded: its own, or that of the earlier activity with
    the same idempotency key.
    """
    columns, rows = NEW_COLUMNS, new_rows(activities)
    written = run_batch(
        connection,
        f"""INSERT INTO {ACTIVITY_TABLE} (id, agent_id, queue_name, agent_type, status, fence, attempt, failures,
                priority, context, metadata, idempotency_key, lock_key, created_at, updated_at, run_after)
            SELECT v.id, v.id, v.queue_name, v.agent_type, 'queued', 0, 0, 0, v.priority, v.context, v.metadata,
                v.idempotency_key, v.lock_key, :now, :now, CASE WHEN v.delay > 0 THEN :later END
            FROM :rows AS v WHERE true
            ON CONFLICT DO NOTHING RETURNING id""",
        rows,
        columns,
    )
    fresh = {as_uuid(row.id) for row in written}
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, {ENQUEUE_FENCE}, 0, 'queued', v.message, 0, :now FROM :rows AS v WHERE true
            ON CONFLICT DO NOTHING""",
        [row for row, a in zip(rows, activities, strict=True) if a.id in fresh],
        columns,
    )
    return {a.id: a.id for a in activities if a.id in fresh} | recorded_before(
        connection, [a for a in activities if a.id not in fresh]
    )


def new_rows(activities: Sequence[NewActivity]) -> list[dict[str, Any]]:
    """New activities as a batch of `NEW_COLUMNS`."""
    return [
        {
            "id": as_text(a.id),
            "queue_name": a.queue_name,
            "agent_type": a.task_name,
            "priority": a.priority,
            "context": a.context,
            "metadata": a.metadata,
            "idempotency_key": a.idempotency_key,
            "lock_key": a.lock_key,
            "delay": a.delay,
            "message": a.message,
        }
        for a in activities
    ]


def start(
    connection: Connection,
    tokens: Mapping[UUID, int],
    message: str,
    worker: str = "",
    lock_keys: Mapping[UUID, str] = NO_LOCK_KEYS,
) -> dict[UUID, Started]:
    """Move activities to RUNNING under their new tokens, in the hands of `worker`; returns those that may run.

    One that is terminal, has a cancel request, was started under a higher token, or by somebody else under the same
    one, is left out, and so is one whose lock key another one runs under. `lock_keys` are those that the producers did
    not know of: the healing has to. Sending the same start again answers the same.
    """
    rows = [
        {"id": as_text(i), "token": token, "message": message, "worker": worker, "lock_key": lock_keys.get(i)}
        for i, token in tokens.items()
    ]
    columns = {"id": "uuid", "token": "bigint", "message": "text", "worker": "text", "lock_key": "text"}
    started = run_batch(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET status = 'running', fence = v.token, holder = v.worker, updated_at = :now,
                lock_key = coalesce(a.lock_key, v.lock_key),
                attempt = attempt + CASE WHEN a.fence < v.token THEN 1 ELSE 0 END
            FROM :rows AS v
            WHERE a.id = v.id AND cancel_requested_at IS NULL
              AND (fence < v.token OR status = 'running' AND fence = v.token AND holder = v.worker)
              AND status IN ('queued', 'running')
              AND {NOBODY_HAS_THE_LOCK}
            RETURNING a.id, a.attempt, a.failures""",
        rows,
        columns,
    )
    attempts = {as_uuid(row.id): Started(int(row.attempt), int(row.failures)) for row in started}
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, v.token, 0, 'running', v.message, 0, :now FROM :rows AS v WHERE true ON CONFLICT DO NOTHING""",
        [row for row, i in zip(rows, tokens, strict=True) if i in attempts],
        columns,
    )
    return attempts


def finish(connection: Connection, outcomes: Sequence[ActivityUpdate]) -> dict[UUID, Status]:
    """End claims: each RUNNING row that still carries the token moves to the outcome's status, with its last
    log entry.

    A retry or release (status QUEUED) of a row that somebody wants canceled becomes CANCELED. Returns the
    status each accepted activity has now; refused ones are left out, unless this very outcome had been
    written before.
    """
    columns, rows = OUTCOME_COLUMNS, outcome_rows(outcomes)
    ended = run_batch(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET updated_at = :now, result = v.result, error = v.error,
                failures = failures + v.failed,
                status = CASE WHEN v.status = 'queued' AND a.cancel_requested_at IS NOT NULL
                    THEN 'canceled' ELSE v.status END
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
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, v.token, v.n, v.status, v.message, v.percentage, :now FROM :rows AS v WHERE true
            ON CONFLICT DO NOTHING""",
        written,
        columns,
    )
    return accepted | written_before(connection, [o for o in outcomes if o.id not in accepted])


def outcome_rows(outcomes: Sequence[ActivityUpdate]) -> list[dict[str, Any]]:
    """Outcomes as a batch of `OUTCOME_COLUMNS`."""
    return [
        {
            "id": as_text(o.id),
            "token": o.token,
            "n": o.n,
            "status": o.status.value,
            "message": o.message,
            "percentage": o.percentage,
            "result": o.result,
            "error": o.error,
            "failed": int(o.failed),
        }
        for o in outcomes
    ]


def append(connection: Connection, entries: Sequence[LogEntry]) -> None:
    """Write progress entries of tasks that still run under the same token; others are refused silently.

    The row is locked against a change of status while its log grows, so an entry never follows the end of its
    claim.
    """
    columns = {"id": "uuid", "token": "bigint", "n": "int", "message": "text", "percentage": "smallint"}
    rows = [
        {"id": as_text(e.id), "token": e.token, "n": e.n, "message": e.message, "percentage": e.percentage}
        for e in entries
    ]
    lock = " FOR SHARE OF a" if connection.dialect.name == "postgresql" else ""
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, v.token, v.n, 'running', v.message, v.percentage, :now
            FROM :rows AS v JOIN {ACTIVITY_TABLE} AS a ON a.id = v.id AND a.fence = v.token AND a.status = 'running'
            WHERE true{lock} ON CONFLICT DO NOTHING""",
        rows,
        columns,
    )


def record_revoked(
    connection: Connection, tokens: Mapping[UUID, int], status: Status, message: str, error: str | None = None
) -> set[UUID]:
    """Speak for holders that cannot: move RUNNING rows still under these lost tokens to QUEUED (released,
    reaped) or ERROR.

    The log entry takes the next free number of that token. Returns the ids that moved; a row whose holder's
    own last word came first, or that runs again already, is left alone.
    """
    columns = {"id": "uuid", "token": "bigint", "status": "text", "message": "text", "error": "text"}
    rows = [
        {"id": as_text(i), "token": token, "status": status.value, "message": message, "error": error}
        for i, token in tokens.items()
    ]
    moved = run_batch(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET updated_at = :now, error = v.error,
                status = CASE WHEN a.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE v.status END
            FROM :rows AS v WHERE a.id = v.id AND a.fence = v.token AND a.status = 'running'
            RETURNING a.id, a.status""",
        rows,
        columns,
    )
    now_is = {as_uuid(row.id): str(row.status) for row in moved}
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, created_at)
            SELECT v.id, v.token,
                (SELECT coalesce(max(n), -1) + 1 FROM {LOG_TABLE} WHERE activity_id = v.id AND fence = v.token),
                v.status,
                 v.message, :now FROM :rows AS v WHERE true""",
        [row | {"status": now_is[i]} for row, i in zip(rows, tokens, strict=True) if i in now_is],
        columns,
    )
    return set(now_is)


def end_unstarted(
    connection: Connection, tokens: Mapping[UUID, int], status: Status, message: str, error: str | None = None
) -> set[UUID]:
    """End activities that never ran under these tokens and never will: CANCELED on request, ERROR when
    dead-lettered.

    The token becomes the row's fence, so an older holder that wakes up later is refused. Returns the ids that
    ended.
    """
    columns = {"id": "uuid", "token": "bigint", "status": "text", "message": "text", "error": "text"}
    rows = [
        {"id": as_text(i), "token": token, "status": status.value, "message": message, "error": error}
        for i, token in tokens.items()
    ]
    ended = run_batch(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET status = v.status, fence = v.token, error = v.error, updated_at = :now
            FROM :rows AS v WHERE a.id = v.id AND a.fence < v.token AND a.status IN ('queued', 'running')
            RETURNING a.id""",
        rows,
        columns,
    )
    ids = {as_uuid(row.id) for row in ended}
    run_batch(
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
    ids = list(dict.fromkeys(ids))  # each gets one log entry, however often it is named
    rows = [{"id": as_text(i), "message": message} for i in ids]
    columns = {"id": "uuid", "message": "text"}
    touched = run_batch(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET updated_at = :now,
                cancel_requested_at = coalesce(cancel_requested_at, :now),
                status = CASE WHEN status = 'queued' THEN 'canceled' ELSE status END
            FROM :rows AS v WHERE a.id = v.id AND status IN ('queued', 'running') RETURNING a.id, a.status""",
        rows,
        columns,
    )
    standing = {as_uuid(row.id): Status(row.status) for row in touched}
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, created_at)
            SELECT a.id, a.fence,
                (SELECT coalesce(max(n), -1) + 1 FROM {LOG_TABLE} WHERE activity_id = a.id AND fence = a.fence),
                'canceled', v.message, :now
            FROM :rows AS v JOIN {ACTIVITY_TABLE} AS a ON a.id = v.id WHERE true""",
        [row for row, i in zip(rows, ids, strict=True) if standing.get(i) is Status.CANCELED],
        columns,
    )
    return standing


def mark_dispatched(connection: Connection, ids: Iterable[UUID]) -> None:
    """Say that the queue has these activities."""
    run_batch(
        connection,
        f"""UPDATE {ACTIVITY_TABLE} AS a SET dispatched_at = :now FROM :rows AS v
            WHERE a.id = v.id AND dispatched_at IS NULL RETURNING a.id""",
        [{"id": as_text(i)} for i in ids],
        {"id": "uuid"},
    )


def written_before(connection: Connection, outcomes: Sequence[ActivityUpdate]) -> dict[UUID, Status]:
    """Outcomes that a lost reply made us send twice: the row carries our token and what our status became."""
    now = standings(connection, [o.id for o in outcomes])
    return {
        o.id: now[o.id].status
        for o in outcomes
        if o.id in now and now[o.id].fence == o.token and now[o.id].status in _becomes(o.status)
    }


def _becomes(status: Status) -> tuple[Status, ...]:
    # Only a retry or release turns into CANCELED; any other word that finds CANCELED came too late.
    return (status, Status.CANCELED) if status is Status.QUEUED else (status,)


def recorded_before(connection: Connection, refused: Sequence[NewActivity]) -> dict[UUID, UUID]:
    """Activities that were recorded before: under the same id (sent again) or the same idempotency key."""
    found = run_batch(
        connection,
        f"""SELECT v.id AS asked, a.id AS recorded FROM :rows AS v
            JOIN {ACTIVITY_TABLE} AS a ON a.id = v.id OR a.idempotency_key = v.idempotency_key""",
        [{"id": as_text(a.id), "idempotency_key": a.idempotency_key} for a in refused],
        {"id": "uuid", "idempotency_key": "text"},
    )
    return {as_uuid(row.asked): as_uuid(row.recorded) for row in found}
