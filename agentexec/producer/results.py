"""Wait for the results of tasks."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import select

from agentexec.arguments import require, require_number
from agentexec.errors import AgentexecError, TaskFailedError
from agentexec.identifiers import parse_id
from agentexec.producer.client import Client, default_client
from agentexec.store.models import Activity
from agentexec.store.status import Status
from agentexec.task import Task

DEFAULT_TIMEOUT = 300.0
FIRST_LOOK, LONGEST_PAUSE = 0.01, 0.25  # seconds
# Seconds between two queries to Postgres: many callers that wait must not slow down the workers.
RECORD_EVERY = 1.0


async def get_result(task: Task | UUID | str, timeout: float = DEFAULT_TIMEOUT) -> Any:  # noqa: ASYNC109 - as published
    """Wait for a task; returns its result as JSON values, None if the handler returned nothing.

    Reads Redis first, and Postgres if Redis has no result. Raises `TaskFailedError` if the task ended as ERROR or
    CANCELED, `TimeoutError` after `timeout` seconds.
    """
    agent_id = _id_of(task)
    require_number(timeout, "timeout is a number", "give seconds")
    client = default_client()
    deadline, pause = time.monotonic() + timeout, FIRST_LOOK
    ask_record_at = 0.0
    while True:
        ask_record = time.monotonic() >= min(ask_record_at, deadline)
        ended, value = await asyncio.to_thread(_look, client, agent_id, ask_record)
        if ended:
            return value
        if ask_record:
            ask_record_at = time.monotonic() + RECORD_EVERY
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"Task {agent_id} has not ended within {timeout:g} s.")
        await asyncio.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, pause * 1.5)


async def gather(*tasks: Task | UUID | str, timeout: float = DEFAULT_TIMEOUT) -> tuple[Any, ...]:  # noqa: ASYNC109 - as published
    """Wait for several tasks; raises the error of the first that fails, while the others go on."""
    for task in tasks:
        _id_of(task)
    return tuple(await asyncio.gather(*(get_result(task, timeout) for task in tasks)))


def _id_of(task: Any) -> UUID:
    if isinstance(task, Task):
        return task.agent_id
    remedy = (
        "await the call of enqueue first" if inspect.iscoroutine(task) else "for several use gather(*tasks)"
    )
    require(task, (str, UUID), "get_result takes one Task or its id", remedy)
    return parse_id(task)


def _look(client: Client, agent_id: UUID, ask_record: bool) -> tuple[bool, Any]:
    try:
        cached = client.queue.result(agent_id)
    except redis.RedisError:
        cached, ask_record = None, True  # Postgres has it too
    if cached is not None:
        return True, json.loads(cached)
    if not ask_record:
        return False, None
    query = select(Activity.agent_type, Activity.status, Activity.result, Activity.error, Activity.attempt)
    with client.engine.connect() as connection:
        row = connection.execute(query.where(Activity.agent_id == agent_id)).one_or_none()
    if row is None:
        raise AgentexecError(
            f"No activity {agent_id} is recorded; was it enqueued in another database or cleaned up?"
        )
    if row.status in (Status.ERROR, Status.CANCELED):
        raise TaskFailedError(
            task_name=row.agent_type,
            agent_id=agent_id,
            status=row.status.value,
            error=row.error or "",
            attempts=row.attempt,
        )
    return row.status is Status.COMPLETE, row.result
