"""Retention: deletes or archives old activities without blocking workers.

A million rows take a thousand transactions of some milliseconds. Each locks its own rows only and skips rows that
are locked. Only terminal activities are affected: a pending activity is work, whatever its age.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select
from sqlalchemy.orm import Session

from agentexec.config import checked_seconds
from agentexec.errors import AgentexecError, checked_number, require
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE, Activity, ActivityLog, in_status
from agentexec.store.status import PENDING

DAYS = 30.0
BATCH = 1000
MAX_BATCH = 10_000  # each row is a parameter of a statement, and SQLite allows 32,766 of them


def cleanup_old_activities(
    target: Engine | Session,
    days: float = DAYS,
    *,
    older_than: timedelta | datetime | None = None,
    archive: bool = False,
    batch_size: int = BATCH,
    pause: float = 0.0,
) -> int:
    """Delete terminal activities that last changed more than `days` ago, with their logs; returns how many.

    `older_than` (an age, or a point in time with a time zone) wins over `days`. With `archive` they move to
    `{prefix}activity_archive` and `{prefix}activity_log_archive`. Each batch is a transaction of its own, so an
    interruption loses at most one batch; `pause` is the time between batches in seconds. Locked rows are skipped.

    Raises ValueError for wrong arguments, `AgentexecError` for a session in a transaction.
    """
    require(target, (Engine, Session), "A clean-up takes an engine or a session", "pass one of them first")
    days = checked_number(days, "days is a number", "give an age in days, or `older_than`")
    require(batch_size, int, "batch_size is a whole number", f"give one from 1 to {MAX_BATCH}")
    pause = checked_seconds(pause, "The pause")
    if not 1 <= batch_size <= MAX_BATCH:
        raise ValueError(f"batch_size is 1 to {MAX_BATCH}, not {batch_size}")
    cutoff = _cutoff(days, older_than)
    total = 0
    since: datetime | None = None
    while True:
        with _transaction(target) as connection:
            taken, since = _batch(connection, since, cutoff, archive=archive, size=batch_size)
        total += taken
        if taken < batch_size:
            return total
        if pause:
            time.sleep(pause)


def _cutoff(days: float, older_than: timedelta | datetime | None) -> datetime:
    if isinstance(older_than, datetime):
        if older_than.tzinfo is None:
            raise ValueError("older_than needs a time zone, as in datetime.now(UTC)")
        return older_than.astimezone(UTC)
    try:
        age = timedelta(days=days) if older_than is None else older_than
        require(age, timedelta, "older_than is a timedelta or a datetime", "pass one of them")
        if age >= timedelta(0):
            return datetime.now(UTC) - age
    except OverflowError:
        raise ValueError("the age is longer than the calendar; give a shorter one") from None
    raise ValueError(f"the age is negative ({age}); give one from 0 up")


@contextmanager
def _transaction(target: Engine | Session) -> Iterator[Connection]:
    if isinstance(target, Engine):
        with target.begin() as connection:
            yield connection
        return
    if target.in_transaction():
        raise AgentexecError(
            "This session is in a transaction, and a clean-up commits after each batch; commit it first, or "
            "pass the engine."
        )
    with target.begin():
        yield target.connection()


def _batch(
    connection: Connection, since: datetime | None, cutoff: datetime, *, archive: bool, size: int
) -> tuple[int, datetime | None]:
    """Remove one batch, oldest first; returns its size and the `updated_at` at which the next one begins.

    A scan from there does not read the dead index entries of the earlier batches.
    """
    oldest = (
        select(Activity.id, Activity.updated_at)
        # Without statistics, the planner takes a status for rare: then it reads the whole table for each batch.
        .where(~in_status(PENDING), Activity.updated_at < cutoff)
        .order_by(Activity.updated_at)
        .limit(size)
        .with_for_update(skip_locked=True)
    )
    if since is not None:
        oldest = oldest.where(Activity.updated_at >= since)
    rows = connection.execute(oldest).all()
    if not rows:
        return 0, since
    ids = [row.id for row in rows]
    if archive:
        _copy(connection, Activity.__table__, ACTIVITY_ARCHIVE, Activity.id.in_(ids))
        _copy(connection, ActivityLog.__table__, LOG_ARCHIVE, ActivityLog.activity_id.in_(ids))
    # The logs first: the foreign key would delete them too, but one activity at a time.
    connection.execute(delete(ActivityLog).where(ActivityLog.activity_id.in_(ids)))
    connection.execute(delete(Activity).where(Activity.id.in_(ids)))
    return len(ids), rows[-1].updated_at


def _copy(connection: Connection, source: Any, into: Table, condition: Any) -> None:
    names = [column.name for column in source.columns]
    connection.execute(insert(into).from_select(names, select(*source.columns).where(condition)))
