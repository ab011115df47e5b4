"""What code that holds no lease may write to the record. Callers own the transaction.

There are two kinds of activities. Those of a queue belong to whoever holds their lease: an outsider may leave a
note, or end them under a token that outranks the holder's. Those that are kept by hand (`activity.create`) belong to
no queue, so that no pool ever runs them; each writer becomes their holder for the length of its transaction, under
the lock of their row.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select

from agentexec.store import statements
from agentexec.store.batch import as_text, run_batch
from agentexec.store.models import LOG_TABLE, Activity, ActivityLog
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status

BY_HAND = ""  # the queue of activities that no pool runs; no real queue can have this name
STARTED = "Started."


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """An activity whose row this transaction holds."""

    id: UUID
    queue_name: str
    status: Status
    fence: int

    @property
    def by_hand(self) -> bool:
        """Whether no pool runs it."""
        return self.queue_name == BY_HAND


def lock(connection: Connection, agent_id: UUID) -> Locked | None:
    """The activity, its row locked until the transaction ends; None for an unknown one."""
    columns = (Activity.id, Activity.queue_name, Activity.status, Activity.fence)
    query = select(*columns).where(Activity.agent_id == agent_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Locked(id=row.id, queue_name=row.queue_name, status=row.status, fence=row.fence)


def note(connection: Connection, activity: Locked, message: str, percentage: int | None) -> None:
    """Add an entry to the log of a pending activity.

    A queue's activity gets it under the fence of the enqueuing, with the status that fence had: numbers under a
    token are its holder's to give, and an entry of ours among them would displace one of its own.
    """
    if activity.by_hand:
        held = _held(connection, activity)
        n = _next(connection, held.id, held.fence)
        entry = LogEntry(id=held.id, token=held.fence, n=n, message=message, percentage=percentage)
        statements.append(connection, [entry])
        return
    n = _next(connection, activity.id, statements.ENQUEUE_FENCE)
    row = {"id": as_text(activity.id), "n": n, "message": message, "percentage": percentage}
    run_batch(
        connection,
        f"""INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT v.id, {statements.ENQUEUE_FENCE}, v.n, 'queued', v.message, v.percentage, :now
            FROM :rows AS v WHERE true""",
        [row],
        {"id": "uuid", "n": "int", "message": "text", "percentage": "smallint"},
    )


def end_by_hand(
    connection: Connection, activity: Locked, status: Status, message: str, percentage: int | None
) -> None:
    """End an activity that is kept by hand."""
    held = _held(connection, activity)
    outcome = ActivityUpdate(
        id=held.id,
        token=held.fence,
        n=_next(connection, held.id, held.fence),
        status=status,
        message=message,
        percentage=percentage,
        error=message if status is Status.ERROR else None,
    )
    statements.finish(connection, [outcome])


def take_over(connection: Connection, activity: Locked, status: Status, message: str) -> None:
    """End a queue's pending activity under a token that outranks its holder, whose writes are refused from now
    on.
    """
    error = message if status is Status.ERROR else None
    statements.end_unstarted(connection, {activity.id: activity.fence + 1}, status, message, error)


def _held(connection: Connection, activity: Locked) -> Locked:
    if activity.status is Status.RUNNING:
        return activity
    token = activity.fence + 1
    statements.start(connection, {activity.id: token}, STARTED)
    return Locked(id=activity.id, queue_name=BY_HAND, status=Status.RUNNING, fence=token)


def _next(connection: Connection, activity_id: UUID, fence: int) -> int:
    query = select(func.coalesce(func.max(ActivityLog.n), -1) + 1)
    mine = (ActivityLog.activity_id == activity_id, ActivityLog.fence == fence)
    return int(connection.execute(query.where(*mine)).scalar_one())
