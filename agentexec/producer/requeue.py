"""Run a dead letter again, as a new activity with the same task and context.

The activity of the dead letter is ERROR and stays so; one that is pending still becomes ERROR first. The metadata of
the new one name it under `requeued_from`.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from sqlalchemy import select

from agentexec.errors import AgentexecError, InvalidTask
from agentexec.producer.client import Client
from agentexec.queue.dead_letters import DeadLetters
from agentexec.store.models import Activity
from agentexec.store.status import Status
from agentexec.task import Priority, TaskRequest, UncheckedContext

LONGEST_ID = 100  # characters; with the name of a queue it has to fit into an idempotency key


def requeue(client: Client, task_id: UUID | str) -> UUID:
    """Enqueue the task of a dead letter again and delete the letter; returns the id of the new activity.

    Safe to repeat after a failure: the same letter gives the same new activity. Raises `AgentexecError` if there is no
    such letter or its activity is COMPLETE or CANCELED, `InvalidTask` for a payload that cannot be read, and what
    Redis and the database raise.
    """
    letters = DeadLetters(client.queue, client.engine)
    letter = letters.get(task_id)
    if letter is None:
        raise AgentexecError(f"There is no dead letter {task_id}; `agentexec dlq list` shows all there are.")
    if letter.task_name is None or letter.context is None:
        raise InvalidTask(
            f"The payload of dead letter {letter.task_id} cannot be read, so it cannot run again; look at it with "
            "`agentexec dlq show`, then purge it."
        )
    status = letters.end_activity(letter)
    if status not in (None, Status.ERROR):
        raise AgentexecError(
            f"The activity of dead letter {letter.task_id} is {status}, so it is not to run again; purge the letter."
        )
    metadata, lock_key = _recorded(client, letter.task_id)
    request = TaskRequest(
        task_name=letter.task_name,
        context=UncheckedContext(dict(letter.context)),
        priority=next((p for p in Priority if p.level == letter.level), Priority.LOW),
        metadata=metadata | {"requeued_from": letter.task_id},
        lock_key=lock_key,
        idempotency_key=_key(client.queue.name, letter.task_id),
    )
    task = client.enqueue_many_sync([request])[0]
    letters.purge([letter.task_id])
    return task.agent_id


def _key(queue_name: str, task_id: str) -> str:
    """The idempotency key for the requeue of this letter, whose id may be of any length."""
    if len(task_id) > LONGEST_ID:
        task_id = hashlib.blake2b(task_id.encode(), digest_size=16).hexdigest()
    return f"requeue:{queue_name}:{task_id}"


def _recorded(client: Client, task_id: str) -> tuple[dict[str, Any], str | None]:
    """Metadata and lock key of the old activity, if the record still has it."""
    try:
        activity_id = UUID(task_id)
    except ValueError:
        return {}, None
    with client.engine.connect() as connection:
        query = select(Activity.metadata_, Activity.lock_key).where(Activity.id == activity_id)
        row = connection.execute(query).one_or_none()
    metadata, lock_key = row or (None, None)
    return dict(metadata or {}), lock_key or None
