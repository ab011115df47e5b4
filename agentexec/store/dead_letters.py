"""Dead letters in the record: they outlive the queue's contents. Callers own the transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select

from agentexec.store.dialects import as_uuid, run
from agentexec.store.models import Activity

SETTLED = """UPDATE {activity} SET dead_lettered_at = NULL
    WHERE id {locked_ids} AND queue_name = :queue AND dead_lettered_at IS NOT NULL RETURNING id"""


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
    return {as_uuid(row.id) for row in run(connection, SETTLED, ids=ids, queue=queue_name)}


def _dead(queue_name: str) -> tuple[ColumnElement[bool], ...]:
    return Activity.queue_name == queue_name, Activity.dead_lettered_at.is_not(None)


def _aware(time: datetime) -> datetime:
    """SQLite returns times without their zone, which is UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
