"""Handlers that end in each way, for an eager block and for a real pool."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool(num_workers=1, worker_concurrency=4)


class Job(BaseModel):
    """The context of every handler."""

    number: int = 0


class Answer(BaseModel):
    """What some of them return."""

    number: int
    attempt: int


@pool.task("complete")
async def complete(agent_id: UUID, context: Job) -> Answer:
    """Report and return a result."""
    task = ax.current_task()
    task.report("half", 50)
    ax.activity.update(agent_id, "almost", 90)
    return Answer(number=context.number, attempt=task.attempt)


@pool.task("in_a_thread")
def in_a_thread(agent_id: UUID, context: Job) -> Answer:
    """The same without async."""
    task = ax.current_task()
    task.report("half", 50)
    task.close_with("done by hand")
    return Answer(number=context.number, attempt=task.attempt)


@pool.task("retry")
async def retry(agent_id: UUID, context: Job) -> Answer:
    """Fail once."""
    attempt = ax.current_task().attempt
    if attempt == 1:
        raise ConnectionError("once")
    return Answer(number=context.number, attempt=attempt)


@pool.task("fail")
async def fail(agent_id: UUID, context: Job) -> None:
    """Fail always."""
    raise ValueError("as asked, password=hush")


@pool.task("give_up")
async def give_up(agent_id: UUID, context: Job) -> None:
    """Decide that it failed for good."""
    ax.activity.error(agent_id, "it cannot be done")


@pool.task("too_slow", soft_time_limit=0.1)
async def too_slow(agent_id: UUID, context: Job) -> None:
    """Exceed the soft limit."""
    await asyncio.sleep(60)


@pool.task("invalid_result")
async def invalid_result(agent_id: UUID, context: Job) -> Any:
    """Return what JSON cannot hold."""
    return object()


@pool.task("nothing")
async def nothing(agent_id: UUID, context: Job) -> None:
    """Return nothing."""


@pool.task("hung", time_limit=0.2)
async def hung(agent_id: UUID, context: Job) -> None:
    """Exceed the hard limit."""
    await asyncio.sleep(60)


@pool.task("parent", lock_key="number:{number}")
async def parent(agent_id: UUID, context: Job) -> None:
    """Enqueue a task with the same lock key, and one that this one waits for."""
    await ax.enqueue("child", context)
    other = await ax.enqueue("complete", context)
    answer = await ax.get_result(other, 30)
    ax.current_task().report(f"{answer!r}")


@pool.task("child", lock_key="number:{number}")
def child(agent_id: UUID, context: Job) -> None:
    """Enqueue from a thread."""
    ax.enqueue_sync("nothing", context)


@pool.task("blocked")
def blocked(agent_id: UUID, context: Job) -> None:
    """Take a moment of a thread."""
    time.sleep(0.05)
