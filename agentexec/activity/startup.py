"""`agentexec.activity.cancel_pending`: give up what nobody will ever run.

agentexec 0.3.0 cancels everything that is pending, and the production guide calls it whenever a process starts. With
several pools that would cancel what the others are running and have queued, so here an activity is given up only
when all of this holds:

- it belongs to the client's queue, is QUEUED or RUNNING, and nothing happened to it for the grace period;
- it had been dispatched, and is not waiting for a later time: what was never dispatched, the relay brings;
- the queue knows nothing of it: no job, no lease, no schedule, no dead letter;
- the queue's memory can be believed: Redis answers, evicts nothing, is not full, and has remembered since before the
  grace period. What Redis lost (FLUSHALL, failover, a restart without persistence) is brought back by the first pool
  that sees it, and must not be given up in between.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, overload
from uuid import UUID

import redis
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from agentexec.activity.sessions import with_session
from agentexec.producer.client import Client, default_client
from agentexec.store import statements
from agentexec.store.models import Activity
from agentexec.store.status import PENDING, Status

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

GRACE = 3600.0  # seconds; far longer than any reconciler takes to bring a lost task back
PAGE = 500
MESSAGE = "Canceled: the queue no longer knows this task."

_logger = logging.getLogger(__name__)


@overload
def cancel_pending(session: Session, *, grace: float = ..., client: Client | None = ...) -> int: ...
@overload
def cancel_pending(
    session: AsyncSession | None = ..., *, grace: float = ..., client: Client | None = ...
) -> Awaitable[int]: ...
def cancel_pending(
    session: Session | AsyncSession | None = None, *, grace: float = GRACE, client: Client | None = None
) -> int | Awaitable[int]:
    """Cancel the orphans of the client's queue; returns how many. `grace` is in seconds.

    Never cancels what a live pool runs or has queued (this module's text says what an orphan is). Where Redis does
    not answer or cannot be believed, nothing is canceled and a warning says why. The session is committed, unless
    it was in a transaction already: then that is the caller's. Raises ValueError for a negative grace.
    """
    if grace < 0:
        raise ValueError(f"grace is a number of seconds from 0 up, not {grace}")
    return with_session(session, lambda s: _cancel(s, client or default_client(), grace))


def _cancel(session: Session, client: Client, grace: float) -> int:
    callers = session.in_transaction()
    try:
        doubt = _doubt(client, grace)
        if doubt is not None:
            _logger.warning("no pending activity was canceled: %s", doubt)
            return 0
        canceled = _sweep(session, client, datetime.now(UTC) - timedelta(seconds=grace))
    except redis.RedisError as error:
        if not callers:
            session.rollback()
        _logger.warning(
            "no pending activity was canceled: Redis cannot be asked (%s), so nobody can tell which are orphans",
            type(error).__name__,
        )
        return 0
    if not callers:
        session.commit()
    return canceled


def _doubt(client: Client, grace: float) -> str | None:
    """Why the queue's not knowing a task proves nothing, or None."""
    policy = str(client.redis.info().get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        return f"Redis evicts keys (maxmemory-policy {policy}), so a task that it does not know may be alive"
    cap = client.settings.max_queue_depth
    if cap and _filling(client) >= cap:
        return "the queue is full, so a task that it does not know may be waiting for room"
    age = _memory_age(client)
    if age is None or age < grace:
        return (
            "the queue's memory is younger than the grace period, so a pool may still be bringing tasks back"
        )
    return None


def _filling(client: Client) -> int:
    """How many tasks count against the queue's cap."""
    keys = client.queue.keys
    return int(client.redis.hlen(keys.job)) - int(client.redis.zcard(keys.dlq))


def _memory_age(client: Client) -> float | None:
    """Seconds since a pool last found the queue without memory; None where it has none yet, or cannot be told."""
    epoch = client.redis.hget(client.queue.keys.cfg, "epoch")
    if epoch is None:
        return None
    try:
        born = UUID(epoch.decode() if isinstance(epoch, bytes) else epoch)
    except ValueError:
        return None
    if born.version != 7:
        return None
    return datetime.now(UTC).timestamp() - (born.int >> 80) / 1000


def _sweep(session: Session, client: Client, cutoff: datetime) -> int:
    """All Redis questions come before any write, so that a Redis that goes away leaves nothing half done."""
    orphans: dict[UUID, int] = {}
    last = UUID(int=0)
    while page := _quiet(session, client.queue.name, cutoff, last):
        known = _known(client, list(page))
        orphans |= {i: fence + 1 for i, fence in page.items() if i not in known}
        last = max(page)
    ended: set[UUID] = set()
    ids = list(orphans)
    for start in range(0, len(ids), PAGE):
        # Fenced: one that was started meanwhile carries a higher token, and is refused.
        tokens = {i: orphans[i] for i in ids[start : start + PAGE]}
        ended |= statements.record_terminated(session.connection(), tokens, Status.CANCELED, MESSAGE)
    return len(ended)


def _quiet(session: Session, queue_name: str, cutoff: datetime, last: UUID) -> Mapping[UUID, int]:
    query = (
        select(Activity.id, Activity.fence)
        .where(
            Activity.queue_name == queue_name,
            Activity.status.in_(PENDING),
            Activity.id > last,
            Activity.updated_at < cutoff,
            Activity.dispatched_at < cutoff,
            or_(Activity.run_after.is_(None), Activity.run_after < cutoff),
        )
        .order_by(Activity.id)
        .limit(PAGE)
    )
    return {row.id: int(row.fence) for row in session.execute(query)}


def _known(client: Client, ids: Sequence[UUID]) -> set[UUID]:
    keys = client.queue.keys
    pipe = client.redis.pipeline(transaction=True)
    for i in map(str, ids):
        pipe.hexists(keys.job, i)
        pipe.hexists(keys.own, i)
        for states in (keys.lease, keys.sched, keys.dlq):
            pipe.zscore(states, i)
    answers = pipe.execute()
    each = len(answers) // len(ids)
    # HEXISTS answers 0 or 1, ZSCORE a float or nothing; a score may be 0.
    held = [isinstance(answer, float) or bool(answer) for answer in answers]
    return {i for n, i in enumerate(ids) if any(held[n * each : (n + 1) * each])}
