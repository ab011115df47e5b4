"""Handlers for pools that tests run as child processes."""

from __future__ import annotations

import asyncio
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from agentexec.core.redis_client import get_redis

pool = ax.Pool()


class Number(BaseModel):
    """A task that is one of many."""

    number: int = 0


class Verdict(BaseModel):
    """How the handler is to end."""

    how: str


class Gate(BaseModel):
    """A list in Redis; each task that waits takes one entry of it."""

    key: str


@pool.task("count")
async def count(agent_id: UUID, context: Number) -> Number:
    """Report progress and return the number."""
    ax.activity.update(agent_id, f"counting {context.number}", percentage=50)
    return context


@pool.task("speak")
async def speak(agent_id: UUID, context: Verdict) -> Number | None:
    """End the task in one of the ways that a handler has."""
    if context.how == "error then return":
        ax.activity.error(agent_id, "It is over")
    elif context.how == "error then raise":
        await ax.activity.error(agent_id, "It is over")
        raise RuntimeError("this is not what the record says")
    elif context.how == "complete":
        await ax.activity.complete(agent_id, "All is said")
        return Number(number=7)
    elif context.how == "error of another":
        other = ax.activity.create("by hand")
        ax.activity.error(other, "Only the other one")
    return None


@pool.task("wait")
async def wait(agent_id: UUID, context: Gate) -> None:
    """Wait until the test opens the gate: until it pushes something to the list."""
    redis = await get_redis()
    while await redis.lpop(context.key) is None:  # noqa: ASYNC110 - the gate is in another process
        await asyncio.sleep(0.02)


@pool.task("speak_sync")
def speak_sync(agent_id: UUID, context: Verdict) -> None:
    """The same from a thread."""
    ax.activity.update(agent_id, "from a thread")
    if context.how == "error":
        ax.activity.error(agent_id, "It is over")
