"""Queries on the activity store for workers, the reconciler and metrics. Callers own the connection."""

from __future__ import annotations

import json
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection

from agentexec.store.dialects import as_uuid, run
from agentexec.store.rows import NewActivity, PendingRow, Standing, Withdrawal
from agentexec.store.status import PENDING, Status, sql_in


def standings(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Standing]:
    """The current state of activities; unknown ids are left out."""
    query = """SELECT id, status, fence, cancel_requested_at IS NOT NULL AS cancel_requested
        FROM {activity} WHERE id {in_ids}"""
    found = run(connection, query, ids=ids)
    return {as_uuid(r.id): Standing(Status(r.status), r.fence, bool(r.cancel_requested)) for r in found}


def pending(connection: Connection, ids: Collection[UUID]) -> list[NewActivity]:
    """Those of the activities that are not terminal, as they were enqueued; `delay` is what remains of it."""
    query = """SELECT id, queue_name, agent_type, context, priority, lock_key, {seconds_left} AS delay
        FROM {activity} WHERE id {in_ids} AND status {pending} ORDER BY id"""
    return [
        NewActivity(
            id=as_uuid(row.id),
            queue_name=row.queue_name,
            task_name=row.agent_type,
            context=json.loads(row.context) if isinstance(row.context, str) else row.context,
            priority=row.priority,
            lock_key=row.lock_key,
            message="",
            delay=max(0.0, float(row.delay or 0)),
        )
        for row in run(connection, query, ids=ids)
    ]


def undispatched(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Those of the activities that are not terminal, and of which it is not noted that the queue has them."""
    query = "SELECT id FROM {activity} WHERE id {in_ids} AND status {pending} AND dispatched_at IS NULL"
    return {as_uuid(row.id) for row in run(connection, query, ids=ids)}


def pending_after(
    connection: Connection,
    queue_name: str,
    last: UUID,
    *,
    older_than: float,
    limit: int,
    statuses: Collection[Status] = PENDING,
) -> list[PendingRow]:
    """The next `limit` pending activities of a queue after the id `last`, at least `older_than` seconds old."""
    query = f"""SELECT id, status, fence, dispatched_at IS NOT NULL AS dispatched FROM {{activity}}
        WHERE queue_name = :queue AND status {sql_in(statuses)} AND id > :last AND created_at <= {{ago}}
        ORDER BY id LIMIT {limit}"""
    found = run(connection, query, queue=queue_name, last=last.hex, seconds=older_than)
    return [
        PendingRow(as_uuid(r.id), bool(r.dispatched), r.fence if r.status == Status.RUNNING else None)
        for r in found
    ]


def withdrawals(connection: Connection, queue_name: str, last: UUID, limit: int) -> list[Withdrawal]:
    """The next `limit` activities after the id `last` that a queue still has to stop or remove."""
    query = f"""SELECT id, status, fence, withdraw_since FROM {{activity}}
        WHERE queue_name = :queue AND withdraw_since IS NOT NULL AND id > :last ORDER BY id LIMIT {limit}"""
    found = run(connection, query, queue=queue_name, last=last.hex)
    return [Withdrawal(as_uuid(r.id), Status(r.status), r.fence, r.withdraw_since) for r in found]


def queue_names(connection: Connection, ids: Collection[UUID]) -> dict[UUID, str]:
    """The queue of each activity; unknown ids are left out."""
    found = run(connection, "SELECT id, queue_name FROM {activity} WHERE id {in_ids}", ids=ids)
    return {as_uuid(row.id): row.queue_name for row in found}


def outbox(
    connection: Connection, queue_name: str, last: UUID, *, older_than: float, limit: int, behind: int
) -> list[PendingRow]:
    """`pending_after`, and before it those of the last `behind` pending activities up to `last` not dispatched yet.

    A transaction that commits late, or the clock of a producer that is late, adds rows behind an id already read.
    """
    old_enough, mine = "created_at <= {ago}", "queue_name = :queue AND status {pending}"
    query = f"""SELECT id, false AS dispatched FROM (
            SELECT id, dispatched_at, created_at FROM {{activity}} WHERE {mine} AND id <= :last
            ORDER BY id DESC LIMIT {behind}) AS behind WHERE dispatched_at IS NULL AND {old_enough}
        UNION ALL SELECT id, dispatched FROM (
            SELECT id, dispatched_at IS NOT NULL AS dispatched FROM {{activity}}
            WHERE {mine} AND id > :last AND {old_enough} ORDER BY id LIMIT {limit}) AS after"""
    found = run(connection, query, queue=queue_name, last=last.hex, seconds=older_than)
    return sorted(PendingRow(as_uuid(row.id), bool(row.dispatched)) for row in found)


def dead_letter_names(connection: Connection, ids: Collection[UUID]) -> dict[UUID, str]:
    """The task names of those activities that are dead letters."""
    query = "SELECT id, agent_type FROM {activity} WHERE id {in_ids} AND dead_lettered_at IS NOT NULL"
    return {as_uuid(row.id): row.agent_type for row in run(connection, query, ids=ids)}


def outbox_lag(connection: Connection, queue_name: str, last: UUID) -> float:
    """About the age in seconds of the oldest pending activity after `last` that is not dispatched; 0 without one."""
    query = """SELECT max(seconds) FROM (SELECT {seconds_old} AS seconds FROM {activity} WHERE queue_name = :queue
        AND status {pending} AND dispatched_at IS NULL AND id > :last ORDER BY id LIMIT 100) AS first"""
    found = run(connection, query, queue=queue_name, last=last.hex)
    return max(0.0, float(found[0][0] or 0.0))
