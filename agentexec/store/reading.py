"""Questions to the record that the workers and the healing ask. Callers own the connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import Connection

from agentexec.store.batch import as_text, as_uuid, run_batch
from agentexec.store.models import ACTIVITY_TABLE
from agentexec.store.rows import NewActivity, Standing
from agentexec.store.status import Status


def standings(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Standing]:
    """Where activities stand; unknown ids are left out."""
    found = run_batch(
        connection,
        f"""SELECT a.id, a.status, a.fence, a.attempt, a.cancel_requested_at IS NOT NULL AS cancel_requested
            FROM {ACTIVITY_TABLE} AS a JOIN :rows AS v ON a.id = v.id""",
        [{"id": as_text(i)} for i in ids],
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
    """Activities that are not over, as they were enqueued; `delay` is what is left of theirs. The rest is
    left out.
    """
    left = (
        "extract(epoch FROM run_after - clock_timestamp())"
        if connection.dialect.name == "postgresql"
        else "(julianday(run_after) - julianday('now')) * 86400"
    )
    found = run_batch(
        connection,
        f"""SELECT a.id, a.queue_name, a.agent_type, a.context, a.priority, a.lock_key, {left} AS delay
            FROM {ACTIVITY_TABLE} AS a JOIN :rows AS v ON a.id = v.id
            WHERE a.status IN ('queued', 'running') ORDER BY a.id""",
        [{"id": as_text(i)} for i in ids],
        {"id": "uuid"},
    )
    return [
        NewActivity(
            id=as_uuid(row.id),
            queue_name=row.queue_name,
            task_name=row.agent_type,
            context=json.loads(row.context) if isinstance(row.context, str) else row.context,
            priority=int(row.priority),
            lock_key=row.lock_key,
            message="",
            delay=max(0.0, float(row.delay or 0)),
        )
        for row in found
    ]
