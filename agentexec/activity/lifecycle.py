"""`agentexec.activity.create`, `update`, `complete`, `error` and `cancel`: how handlers and services write the record.

Inside a handler, for the task it runs, nothing here touches the database: progress goes to the worker's batches, and
the end of the activity is written when the handler ends, fenced like everything else. Everywhere else each call is
one short transaction of `default_client()`; it blocks for the length of one, so a busy event loop calls it through
`asyncio.to_thread`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import redis
from sqlalchemy import Connection

from agentexec.compat.answers import AgentId, Done
from agentexec.context import CurrentTask, current
from agentexec.errors import AgentexecError
from agentexec.identifiers import new_id
from agentexec.producer.client import Client, default_client
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import direct, statements
from agentexec.store.rows import NewActivity
from agentexec.store.status import Status

MAX_MESSAGE = 10_000  # characters that are kept, as of a handler's own messages

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def generate_agent_id() -> UUID:
    """A new id; ids grow with time."""
    return new_id()


def normalize_agent_id(agent_id: str | UUID) -> UUID:
    """An id as a UUID; raises ValueError for text that is none."""
    return agent_id if isinstance(agent_id, UUID) else UUID(agent_id)


def create(
    task_name: str,
    message: str = "Agent queued",
    agent_id: str | UUID | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> AgentId:
    """Record an activity that is kept by hand, as QUEUED; returns its id.

    It belongs to no queue and no pool runs it: its writer moves it on with `update`, `complete`, `error` and
    `cancel`. `agentexec.enqueue` records its own. An id that is taken raises `AgentexecError`.
    """
    chosen = new_id() if agent_id is None else normalize_agent_id(agent_id)
    activity = NewActivity(
        id=chosen,
        queue_name=direct.BY_HAND,
        task_name=task_name,
        context={},
        priority=0,
        message=_clean(message),
        metadata=metadata,
    )

    def work(connection: Connection) -> bool:
        known = direct.lock(connection, chosen) is not None
        statements.record_enqueued(connection, [activity])
        return known

    if _in_transaction(work):
        raise AgentexecError(f"There is an activity {chosen} already; leave agent_id out to get a new one.")
    return AgentId(int=chosen.int)


def update(
    agent_id: str | UUID, message: str, percentage: int | None = None, status: Status | None = None
) -> Done:
    """Add an entry to the activity's log; `percentage` is 0 to 100. Answers whether it was added.

    False for an activity that is over or unknown (that is logged). One kept by hand becomes RUNNING. A terminal
    `status` makes this `complete`, `error` or `cancel`. Raises ValueError for a wrong percentage.
    """
    if status is Status.COMPLETE:
        return complete(agent_id, message)
    if status is Status.ERROR:
        return error(agent_id, message)
    if status is Status.CANCELED:
        return cancel(agent_id, message)
    if percentage is not None and not 0 <= percentage <= 100:
        raise ValueError(f"percentage is between 0 and 100, not {percentage}")
    task = _own(agent_id)
    if task is not None:
        task.report(message, percentage)
        return Done(True)
    return _on(agent_id, lambda c, a: direct.note(c, a, _clean(message), percentage))


def complete(agent_id: str | UUID, message: str = "Agent completed", percentage: int = 100) -> Done:
    """End an activity as COMPLETE.

    Inside a handler, for its own task: `message` becomes that of the COMPLETE entry, which is written when the
    handler returns. Raises `AgentexecError` for a queue's pending activity otherwise: only the handler that runs
    it can say that it is complete.
    """
    task = _own(agent_id)
    if task is not None:
        task.close_with(message)
        return Done(True)

    def write(connection: Connection, activity: direct.Locked) -> None:
        if not activity.by_hand:
            raise AgentexecError(
                f"Activity {activity.id} belongs to a queue: it is complete when its handler returns. "
                "From outside, use activity.error or activity.cancel."
            )
        direct.end_by_hand(connection, activity, Status.COMPLETE, _clean(message), percentage)

    return _on(agent_id, write)


def error(agent_id: str | UUID, message: str = "Agent failed", percentage: int = 100) -> Done:
    """End an activity as ERROR.

    Inside a handler, for its own task: when the handler ends, by returning or by raising, the activity becomes
    ERROR with this message and is not tried again; its task goes to the dead letters. Anywhere else: at once, under
    a token that outranks whoever runs it, who is asked to stop. Answers whether the activity was not over yet.
    """
    task = _own(agent_id)
    if task is not None:
        task.fail(message)
        return Done(True)
    running: list[direct.Locked] = []

    def write(connection: Connection, activity: direct.Locked) -> None:
        if activity.by_hand:
            direct.end_by_hand(connection, activity, Status.ERROR, _clean(message), percentage)
            return
        direct.terminate(connection, activity, Status.ERROR, _clean(message))
        if activity.status is Status.RUNNING:
            running.append(activity)

    done = _on(agent_id, write)
    for activity in running:
        _ask_to_stop(activity, default_client())
    return done


def cancel(
    agent_id: str | UUID, message: str = "Canceled on request.", *, client: Client | None = None
) -> Done:
    """Cancel an activity: at once where it is QUEUED or kept by hand, else its handler is asked to stop.

    Answers whether the activity was not over yet. `client` is the default one of the process unless given.
    """
    running: list[direct.Locked] = []

    def write(connection: Connection, activity: direct.Locked) -> None:
        if activity.by_hand and activity.status is Status.RUNNING:
            direct.end_by_hand(connection, activity, Status.CANCELED, _clean(message), None)
            return
        standing = statements.request_cancel(connection, [activity.id], _clean(message))
        if standing.get(activity.id) is Status.RUNNING:
            running.append(activity)

    client = client or default_client()
    done = _on(agent_id, write, client)
    for activity in running:
        _ask_to_stop(activity, client)
    return done


def _own(agent_id: str | UUID) -> CurrentTask | None:
    """The task that this very handler runs, if it is the one that is meant."""
    task = current.get(None)
    return task if task is not None and task.agent_id == normalize_agent_id(agent_id) else None


def _on(
    agent_id: str | UUID,
    write: Callable[[Connection, direct.Locked], None],
    client: Client | None = None,
) -> Done:
    """Write to a pending activity under the lock of its row."""

    def work(connection: Connection) -> bool:
        activity = direct.lock(connection, normalize_agent_id(agent_id))
        if activity is None:
            _logger.warning("no activity %s is recorded; nothing was written", agent_id)
            return False
        if activity.status.terminal:
            return False
        write(connection, activity)
        return True

    return Done(_in_transaction(work, client))


def _in_transaction(work: Callable[[Connection], T], client: Client | None = None) -> T:
    with (client or default_client()).engine.begin() as connection:
        return work(connection)


def _ask_to_stop(activity: direct.Locked, client: Client) -> None:
    mine = activity.queue_name == client.queue.name
    queue = client.queue if mine else RedisQueue(client.redis, activity.queue_name)
    try:
        queue.request_cancel([activity.id])
    except redis.RedisError as error:
        _logger.warning(
            "the holder of %s could not be told to stop (%s); what the record says stands anyway",
            activity.id,
            type(error).__name__,
        )


def _clean(message: str) -> str:
    kept = message.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_MESSAGE]
    return kept.encode("utf-8", "replace").decode("utf-8")
