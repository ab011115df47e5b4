"""`agentexec.activity.create`, `update`, `complete`, `error` and `cancel`: writes of handlers and services.

For the task of the handler that calls, nothing here uses the database: progress joins the worker's next batch, and
the end of the activity is written, fenced, when the handler ends. Any other call is one short transaction of
`default_client()`. It blocks for that long, so a busy event loop makes the call through `asyncio.to_thread`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from agentexec.compat.answers import AgentId, Done
from agentexec.context import CurrentTask, current
from agentexec.errors import AgentexecError, require, require_metadata, whole_percentage
from agentexec.identifiers import new_id, parse_id
from agentexec.producer.client import Client, checked_size, default_client, withdraw
from agentexec.store import direct, statements
from agentexec.store.rows import NewActivity
from agentexec.store.status import Status
from agentexec.text import checked_name, storable_text

_logger = logging.getLogger(__name__)


def create(
    task_name: str,
    message: str = "Agent queued",
    agent_id: str | UUID | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> AgentId:
    """Record a manual activity as QUEUED; returns its id.

    A manual activity belongs to no queue and no pool runs it: its owner moves it on with `update`, `complete`,
    `error` and `cancel`. `agentexec.enqueue` records the activities of tasks. Raises `AgentexecError` if there is
    an activity with this id, `InvalidTask` for a name or metadata that the record cannot hold.
    """
    require(task_name, str, "The name of an activity is text", "name what the activity does")
    require_metadata(metadata, task_name)
    client = default_client()
    metadata = None if metadata is None else dict(metadata)
    checked_size(b"", metadata, task_name, client.settings)
    chosen = new_id() if agent_id is None else parse_id(agent_id)
    activity = NewActivity(
        id=chosen,
        queue_name=direct.BY_HAND,
        task_name=checked_name(task_name, "A task name"),
        context={},
        priority=0,
        message=storable_text(message),
        metadata=metadata,
    )
    with client.engine.begin() as connection:
        if direct.lock(connection, chosen) is not None:
            raise AgentexecError(f"There is an activity {chosen} already; leave agent_id out for a new one.")
        statements.record_enqueued(connection, [activity])
    return AgentId(int=chosen.int)


def update(
    agent_id: str | UUID, message: str, percentage: float | None = None, status: Status | None = None
) -> Done:
    """Add an entry to the activity's log; `percentage` is 0 to 100, and loses a fraction. Returns whether it was added.

    It is not added to a terminal or an unknown activity; the latter is logged. A manual activity becomes RUNNING.
    A terminal `status` makes this `complete`, `error` or `cancel`, with the percentage if one is given. Raises
    ValueError for a wrong percentage.
    """
    whole = whole_percentage(percentage)
    status = None if status is None else Status(status)
    if status in (Status.COMPLETE, Status.ERROR):
        end = complete if status is Status.COMPLETE else error
        return end(agent_id, message, 100 if whole is None else whole)
    if status is Status.CANCELED:
        return cancel(agent_id, message, percentage=whole)
    _check(message)
    return _change(
        agent_id,
        lambda connection, activity: direct.note(connection, activity, storable_text(message), whole),
        in_handler=lambda task: task.report(message, whole),
    )


def complete(agent_id: str | UUID, message: str = "Agent completed", percentage: float = 100) -> Done:
    """End an activity as COMPLETE. `percentage` (0 to 100) is for a manual one; the end of a task has 100.

    In a handler, for its own task, `message` becomes the message of the COMPLETE entry, which is written when the
    handler returns. Otherwise raises `AgentexecError` for a task's activity: only its handler can complete it.
    """
    _check(message)
    whole = whole_percentage(percentage)

    def end(connection: Connection, activity: direct.Locked) -> None:
        if not activity.by_hand:
            raise AgentexecError(
                f"Activity {activity.id} belongs to a queue: it is complete when its handler returns. "
                "From outside, use activity.error or activity.cancel."
            )
        direct.end(connection, activity, Status.COMPLETE, storable_text(message), whole)

    return _change(agent_id, end, in_handler=lambda task: task.close_with(message))


def error(agent_id: str | UUID, message: str = "Agent failed", percentage: float = 100) -> Done:
    """End an activity as ERROR; returns whether it was pending. `percentage` (0 to 100) is for a manual one.

    In a handler, for its own task, the activity becomes ERROR with this message when the handler ends, by return
    or exception; the task is not retried and becomes a dead letter. Otherwise the activity becomes ERROR at once,
    under a higher fencing token than that of the worker, which is asked to stop.
    """
    _check(message)
    whole = whole_percentage(percentage)

    def end(connection: Connection, activity: direct.Locked) -> bool:
        direct.end(connection, activity, Status.ERROR, storable_text(message), whole)
        return not activity.by_hand

    return _change(agent_id, end, in_handler=lambda task: task.fail(message))


def cancel(
    agent_id: str | UUID,
    message: str = "Canceled on request.",
    *,
    client: Client | None = None,
    percentage: float | None = None,
) -> Done:
    """Cancel an activity: at once if it is QUEUED or manual, otherwise its worker is asked to stop the handler.

    Returns whether the activity was pending. `client` defaults to that of the process. `percentage` (0 to 100) is for a
    manual activity that is RUNNING.
    """
    _check(message)
    whole = whole_percentage(percentage)

    def end(connection: Connection, activity: direct.Locked) -> bool:
        text = storable_text(message)
        if activity.by_hand and activity.status is Status.RUNNING:
            direct.end(connection, activity, Status.CANCELED, text, whole)
            return False
        statements.request_cancel(connection, [activity.id], text)
        return not activity.by_hand

    return _change(agent_id, end, client=client)


def _check(message: Any) -> None:
    require(message, str, "The message of an activity is text", 'format it first, as in f"{value}"')


def _change(
    agent_id: str | UUID,
    change: Callable[[Connection, direct.Locked], bool | None],
    *,
    in_handler: Callable[[CurrentTask], None] | None = None,
    client: Client | None = None,
) -> Done:
    """Change a pending activity under its row lock; `change` returns True if the queue has to stop or remove its task.

    For the task of the handler that calls, `in_handler` takes the place of `change`.
    """
    task = current.get(None)
    if in_handler is not None and task is not None and task.agent_id == parse_id(agent_id):
        in_handler(task)
        return Done(True)
    client = client or default_client()
    require(client, Client, "The client is a Client", "leave it out for that of this process")
    with client.engine.begin() as connection:
        activity = direct.lock(connection, parse_id(agent_id))
        if activity is None:
            _logger.warning("no activity %s is recorded; nothing was written", agent_id)
        if activity is None or activity.status.terminal:
            return Done(False)
        stop = change(connection, activity)
    if stop:
        withdraw(client.queue_of, {activity.queue_name: [activity.id]})
    return Done(True)
