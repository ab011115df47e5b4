"""Wait for the results of tasks."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import time
from typing import Any, NamedTuple
from uuid import UUID

import redis
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from agentexec.config import checked_seconds
from agentexec.core.postgres import answer_within, timed_out
from agentexec.errors import AgentexecError, TaskFailedError, require
from agentexec.identifiers import parse_id
from agentexec.producer.client import Client, default_client
from agentexec.producer.result_types import known_type, typed
from agentexec.producer.routing import client_for, producers
from agentexec.store.status import Status
from agentexec.task import Task

DEFAULT_TIMEOUT = 300.0
FIRST_LOOK, LONGEST_PAUSE = 0.01, 0.25  # seconds
# Seconds between two queries to Postgres: many callers that wait must not slow down the workers.
RECORD_EVERY = 1.0
LAST_LOOK = 1.0  # seconds that a look at the servers may take although the time-out has passed


class _Found(NamedTuple):
    """A result as JSON values, and the name of its task where the record was read for it."""

    value: Any
    task_name: str | None = None


async def get_result(
    task: Task | UUID | str,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - as published
    *,
    result_type: Any = None,
    client: Client | None = None,
) -> Any:
    """Wait for a task; returns what its handler returned, None for nothing.

    The result is of `result_type`. For None it is of the type that the handler's annotation gives, if a pool of this
    process registered the task, otherwise JSON values; `Any` asks for JSON values. `client` defaults to that of the
    task's pool, otherwise to that of the process.

    Reads Redis first, and Postgres if Redis has no result. Raises `TaskFailedError` if the task ended as ERROR or
    CANCELED, `TimeoutError` after `timeout` seconds, `AgentexecError` for a result that does not fit its type,
    ValueError for a time-out above a century.
    """
    agent_id = _id_of(task)
    timeout = checked_seconds(timeout, "The time-out of get_result")
    name = task.task_name if isinstance(task, Task) else None
    if client is None:
        client = default_client() if name is None else client_for(name)
    found = await _wait(client, agent_id, timeout)
    if result_type is None and found.value is not None and producers():
        if not (name := name or found.task_name):
            name = await asyncio.to_thread(_name_of, client, agent_id)
        result_type = known_type(name)
    return typed(found.value, result_type)


async def gather(*tasks: Task | UUID | str, timeout: float = DEFAULT_TIMEOUT) -> tuple[Any, ...]:  # noqa: ASYNC109 - as published
    """Wait for several tasks; raises the error of the first that fails, while the others go on."""
    for task in tasks:
        _id_of(task)
    return tuple(await asyncio.gather(*(get_result(task, timeout) for task in tasks)))


async def _wait(client: Client, agent_id: UUID, timeout: float) -> _Found:  # noqa: ASYNC109 - see get_result
    deadline, pause = time.monotonic() + timeout, FIRST_LOOK
    ask_record_at = 0.0
    while True:
        now = time.monotonic()
        ask_record = now >= min(ask_record_at, deadline)
        within = max(LAST_LOOK, deadline - now)
        found = None
        with contextlib.suppress(TimeoutError):
            # The limit also holds where all threads are busy; a look itself waits no longer either.
            look = asyncio.to_thread(_look, client, agent_id, ask_record, within)
            found = await asyncio.wait_for(look, within)
        if found is not None:
            return found
        if ask_record:
            ask_record_at = time.monotonic() + RECORD_EVERY
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"Task {agent_id} has not ended within {timeout:g} s.")
        await asyncio.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, pause * 1.5)


def _name_of(client: Client, agent_id: UUID) -> str:
    from agentexec.store.models import Activity

    with client.engine.connect() as connection:
        query = select(Activity.agent_type).where(Activity.agent_id == agent_id)
        return connection.execute(query).scalar_one_or_none() or ""


def _id_of(task: Any) -> UUID:
    if isinstance(task, Task):
        return task.agent_id
    remedy = (
        "await the call of enqueue first" if inspect.iscoroutine(task) else "for several use gather(*tasks)"
    )
    require(task, (str, UUID), "get_result takes one Task or its id", remedy)
    return parse_id(task)


def _look(client: Client, agent_id: UUID, ask_record: bool, within: float) -> _Found | None:
    """The result of a task that has ended; waits for at most about `within` seconds."""
    end, cached = time.monotonic() + within, None
    if not client.circuit.silent:
        try:
            cached = client.results.result(agent_id)
        except redis.RedisError as error:
            ask_record = True  # Postgres has it too
            client.circuit.note(error)
    if cached is not None:
        return _Found(json.loads(cached))
    if not ask_record:
        return None
    from agentexec.store.models import Activity

    query = select(Activity.agent_type, Activity.status, Activity.result, Activity.error, Activity.attempt)
    try:
        with answer_within(end - time.monotonic()), client.engine.connect() as connection:
            row = connection.execute(query.where(Activity.agent_id == agent_id)).one_or_none()
    except DBAPIError as error:
        if not timed_out(error):
            raise
        return None
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
    return _Found(row.result, row.agent_type) if row.status is Status.COMPLETE else None
