"""Removes what one load run left: rows, logs, tasks in the queues, dead letters and results. Safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from agentexec.activity import PENDING, Activity, ActivityLog
from agentexec.queue.dead_letters import DeadLetters
from agentexec.queue.keys import result_key
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE
from harness.errors import TargetFailed, describe_error
from harness.load.producing import EXPECTED, RUN_KEY
from harness.load.target import LoadTarget

_BATCH = 500
_POLL_SECONDS = 0.2
_ANY_QUEUE = "load-clean"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """How much of a run was removed; `running` tasks did not stop in time and remain."""

    activities: int
    results: int
    running: int


def clean(target: LoadTarget, run: str, *, within: float = 30.0) -> Cleaned:
    """Remove everything of a run; tasks that run get `within` seconds to stop. Raises `TargetFailed`.

    Only activities that have the run id in their metadata are touched.
    """
    with target.client(_ANY_QUEUE) as client:
        try:
            return _clean(client, run, within)
        except (*EXPECTED, SQLAlchemyError) as error:
            raise TargetFailed(
                f"The run {run} could not be removed: {describe_error(error)}. Repeat it when the servers answer."
            ) from None


def _clean(client: ax.Client, run: str, within: float) -> Cleaned:
    deadline = time.monotonic() + within
    activities = results = 0
    while True:
        client.cancel(_ids(client, run, pending=True), f"Removed with the load run {run}.")
        for queue, ids in _by_queue(client, run).items():
            results += _forget(client, queue, ids)
            activities += _delete(client, ids)
        running = len(_ids(client, run, pending=True))
        if not running or time.monotonic() >= deadline:
            return Cleaned(activities=activities + _archived(client, run), results=results, running=running)
        time.sleep(_POLL_SECONDS)


def _ids(client: ax.Client, run: str, *, pending: bool) -> list[UUID]:
    query = select(Activity.id).where(Activity.metadata_[RUN_KEY].as_string() == run)
    if pending:
        query = query.where(Activity.status.in_(PENDING))
    with client.engine.connect() as connection:
        return list(connection.execute(query).scalars())


def _by_queue(client: ax.Client, run: str) -> dict[str, list[UUID]]:
    """The activities of the run that are over, by their queue."""
    query = select(Activity.queue_name, Activity.id).where(
        Activity.metadata_[RUN_KEY].as_string() == run, Activity.status.not_in(PENDING)
    )
    found: dict[str, list[UUID]] = {}
    with client.engine.connect() as connection:
        for queue, activity in connection.execute(query):
            found.setdefault(queue, []).append(activity)
    return found


def _forget(client: ax.Client, queue_name: str, ids: Sequence[UUID]) -> int:
    """Remove tasks from their queue and their results from Redis; returns the number of results."""
    queue = client.queue_of(queue_name)
    DeadLetters(queue, client.engine).purge(ids)
    queue.request_cancel(ids)
    removed = 0
    for start in range(0, len(ids), _BATCH):
        removed += int(client.redis.delete(*map(result_key, ids[start : start + _BATCH])))
    return removed


def _delete(client: ax.Client, ids: Sequence[UUID]) -> int:
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        with client.engine.begin() as connection:
            connection.execute(delete(ActivityLog).where(ActivityLog.activity_id.in_(part)))
            connection.execute(delete(Activity).where(Activity.id.in_(part)))
    return len(ids)


def _archived(client: ax.Client, run: str) -> int:
    """Remove what retention moved to the archives; returns the number of activities."""
    ids = select(ACTIVITY_ARCHIVE.c.id).where(ACTIVITY_ARCHIVE.c.metadata[RUN_KEY].as_string() == run)
    with client.engine.begin() as connection:
        connection.execute(delete(LOG_ARCHIVE).where(LOG_ARCHIVE.c.activity_id.in_(ids)))
        return connection.execute(
            delete(ACTIVITY_ARCHIVE).where(ACTIVITY_ARCHIVE.c.metadata[RUN_KEY].as_string() == run)
        ).rowcount
