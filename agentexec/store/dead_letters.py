"""Dead letters in the record: they outlive the queue's contents. Callers own the transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select, update

from agentexec.store.models import Activity


def dead_letter_times(
    connection: Connection, queue_name: str, limit: int | None = None
) -> dict[UUID, datetime]:
    """When the tasks of a queue became dead letters, the latest first, up to `limit`."""
    query = select(Activity.id, Activity.dead_lettered_at).where(*_dead(queue_name))
    found = connection.execute(query.order_by(Activity.dead_lettered_at.desc()).limit(limit))
    return {row.id: _aware(row.dead_lettered_at) for row in found}


def dead_letter_rows(
    connection: Connection, queue_name: str, ids: Collection[UUID]
) -> list[tuple[Any, datetime]]:
    """Id, agent_type, context, priority and error of those activities that are dead letters, and since when."""
    columns = (Activity.id, Activity.agent_type, Activity.context, Activity.priority, Activity.error)
    query = select(*columns, Activity.dead_lettered_at).where(*_dead(queue_name), Activity.id.in_(ids))
    return [(row, _aware(row.dead_lettered_at)) for row in connection.execute(query)]


def unmark_dead_letters(connection: Connection, queue_name: str, ids: Collection[UUID]) -> set[UUID]:
    """Note that an operator has dealt with these dead letters; returns those that were some."""
    query = update(Activity).where(*_dead(queue_name), Activity.id.in_(ids)).values(dead_lettered_at=None)
    return set(connection.execute(query.returning(Activity.id)).scalars())


def _dead(queue_name: str) -> tuple[ColumnElement[bool], ...]:
    return Activity.queue_name == queue_name, Activity.dead_lettered_at.is_not(None)


def _aware(time: datetime) -> datetime:
    """SQLite returns times without their zone, which is UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
