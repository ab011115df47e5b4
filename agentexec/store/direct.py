"""Writes by callers without a lease: services, scripts, other handlers. Callers own the transaction.

A queue's activity belongs to the holder of its lease. Other callers may add a note, or end it under a fencing token
above the holder's. An activity kept by hand (`activity.create`) has no queue, and no pool runs it: each caller becomes
its holder for one transaction, under the lock of its row.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select

from agentexec.store import statements
from agentexec.store.dialects import run
from agentexec.store.rows import ActivityUpdate, LogEntry, Start
from agentexec.store.status import Status

BY_HAND = ""  # the queue name of activities that no pool runs; no queue can have this name


class Locked(NamedTuple):
    """An activity whose row this transaction has locked."""

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
    from agentexec.store.models import Activity

    columns = (Activity.id, Activity.queue_name, Activity.status, Activity.fence)
    query = select(*columns).where(Activity.agent_id == agent_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else Locked(*row)


def note(connection: Connection, activity: Locked, message: str, percentage: int | None) -> None:
    """Add an entry to the log of a pending activity.

    A queue's activity gets it under fence 0, with the status QUEUED: the numbers under a token are for its holder, and
    a note among them would take the number of one of the holder's entries.
    """
    if activity.by_hand:
        token = _hold(connection, activity)
        entry = LogEntry(id=activity.id, token=token, n=None, message=message, percentage=percentage)
        statements.record_progress(connection, [entry])
        return
    statement = """INSERT INTO {log} (activity_id, fence, n, status, message, percentage, created_at)
        SELECT activity_id, fence, max(n) + 1, 'queued', :message, :percentage, {now} FROM {log}
        WHERE activity_id {in_ids} AND fence = 0 GROUP BY activity_id, fence"""
    run(connection, statement, ids=[activity.id], message=message, percentage=percentage)


def end(
    connection: Connection, activity: Locked, status: Status, message: str, percentage: int | None
) -> None:
    """End a pending activity; that of a queue under a token above its holder's, whose later writes are refused."""
    error = message if status is Status.ERROR else None
    if not activity.by_hand:
        statements.record_terminated(connection, {activity.id: activity.fence + 1}, status, message, error)
        statements.mark_withdrawals(connection, [activity.id])
        return
    update = ActivityUpdate(
        id=activity.id,
        token=_hold(connection, activity),
        n=None,
        status=status,
        message=message,
        percentage=percentage,
        error=error,
    )
    statements.record_batch(connection, [], [update])


def _hold(connection: Connection, activity: Locked) -> int:
    """The token of an activity kept by hand, which is started if it is QUEUED."""
    if activity.status is Status.RUNNING:
        return activity.fence
    token = activity.fence + 1
    statements.record_batch(connection, [Start(activity.id, token, "Started.")], [])
    return token
