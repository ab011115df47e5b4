"""`agentexec.activity.cancel_pending`: cancels orphans, the activities that no pool will ever run.

agentexec 0.3.0 cancels every pending activity, and the production guide calls it at every start of a process. With
several pools that would cancel what the others run and have queued. Here an activity is an orphan only if

- it belongs to the client's queue, is QUEUED or RUNNING, and did not change during the grace period;
- it was dispatched and is not due later: the reconciler dispatches what was not;
- the queue has no trace of it: no job, no lease, no schedule, no dead letter;
- the queue's memory is complete: Redis answers, evicts no keys, is not full, and has kept its memory for longer than
  the grace period. After a loss (FLUSHALL, failover, a restart without persistence) the first pool that notices it
  dispatches everything again; its tasks must not be canceled meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import redis
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from agentexec.compat.sessions import with_any_session
from agentexec.config import LONGEST_DURATION
from agentexec.core.redis_client import eviction_policy
from agentexec.errors import checked_number, require
from agentexec.producer.client import Client, default_client
from agentexec.store import statements
from agentexec.store.models import Activity, in_status
from agentexec.store.status import PENDING, Status

GRACE = 3600.0  # seconds; far longer than any reconciler takes to dispatch a lost task again
PAGE = 500
MESSAGE = "Canceled: the queue no longer knows this task."

_logger = logging.getLogger(__name__)


@with_any_session
def cancel_pending(session: Session, *, grace: float = GRACE, client: Client | None = None) -> int:
    """Cancel the orphans of the client's queue (see this module's docstring); returns how many.

    `grace` is in seconds. If Redis does not answer or its memory is incomplete, nothing is canceled and a warning
    gives the reason. Commits the session, unless it was in a transaction before: then the caller commits.
    Raises ValueError for a grace below 0 or above a century.
    """
    grace = checked_number(grace, "grace is a number", "give seconds from 0 up")
    if not 0 <= grace <= LONGEST_DURATION:
        raise ValueError(f"grace is a number of seconds from 0 to {LONGEST_DURATION:g}, not {grace}")
    client = client or default_client()
    require(client, Client, "The client is a Client", "leave it out for that of this process")
    in_transaction = session.in_transaction()
    orphans: dict[UUID, int] = {}
    try:
        doubt = _doubt(client, grace)
        if doubt is None:
            orphans = _orphans(session, client, datetime.now(UTC) - timedelta(seconds=grace))
    except redis.RedisError as error:
        doubt = f"Redis does not answer ({type(error).__name__}), and only the queue knows which are orphans"
    if doubt is not None:
        _logger.warning("no pending activity was canceled: %s", doubt)
    canceled = _cancel(session, orphans)
    if not in_transaction:
        session.commit()
    return canceled


def _doubt(client: Client, grace: float) -> str | None:
    """Why a task without a trace in the queue need not be an orphan, or None."""
    policy = eviction_policy(client.redis.info())
    if policy is not None:
        return f"Redis evicts keys (maxmemory-policy {policy}), so an evicted task may still be running"
    cap = client.settings.max_queue_depth
    if cap:
        depth = client.queue.depth()
        if depth.known - depth.dead >= cap:
            return "the queue is full, so a task that it does not have may be waiting for room"
    age = _memory_age(client)
    if age is None or age < grace:
        return "the queue's memory is younger than the grace period, so a pool may still be dispatching again"
    return None


def _memory_age(client: Client) -> float | None:
    """Seconds since a pool last found the queue without memory; None if there is no such time or it is unknown."""
    try:
        created = UUID(client.queue.epoch())
    except ValueError:
        return None
    return datetime.now(UTC).timestamp() - (created.int >> 80) / 1000 if created.version == 7 else None


def _orphans(session: Session, client: Client, cutoff: datetime) -> dict[UUID, int]:
    """Orphans that last changed before `cutoff`, with their fencing tokens.

    All calls to Redis precede the first write, so that a loss of Redis leaves nothing half done.
    """
    orphans: dict[UUID, int] = {}
    last = UUID(int=0)
    while page := _unchanged(session, client.queue.name, cutoff, last):
        known = client.queue.traces(list(page))
        orphans |= {i: fence for i, fence in page.items() if i not in known}
        last = max(page)
    return orphans


def _cancel(session: Session, orphans: Mapping[UUID, int]) -> int:
    canceled, ids = 0, list(orphans)
    for start in range(0, len(ids), PAGE):
        # Fenced: an activity that was started meanwhile has a higher token and is not canceled.
        tokens = {i: orphans[i] + 1 for i in ids[start : start + PAGE]}
        canceled += len(statements.record_terminated(session.connection(), tokens, Status.CANCELED, MESSAGE))
    return canceled


def _unchanged(session: Session, queue_name: str, cutoff: datetime, last: UUID) -> Mapping[UUID, int]:
    """The page after `last` of pending activities that did not change since `cutoff`, with their fencing tokens."""
    query = (
        select(Activity.id, Activity.fence)
        .where(
            Activity.queue_name == queue_name,
            in_status(PENDING),
            Activity.id > last,
            Activity.updated_at < cutoff,
            Activity.dispatched_at < cutoff,
            or_(Activity.run_after.is_(None), Activity.run_after < cutoff),
        )
        .order_by(Activity.id)
        .limit(PAGE)
    )
    return {row.id: int(row.fence) for row in session.execute(query)}
