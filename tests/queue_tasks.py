"""The pool of the queue's own tests. Its workers import it, so it stands at module level."""

from __future__ import annotations

import asyncio
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool()


class Nap(BaseModel):
    """How long, in seconds."""

    seconds: float = 0.05


@pool.task("nap")
async def nap(agent_id: UUID, context: Nap) -> Nap:
    """Take a while."""
    await asyncio.sleep(context.seconds)
    return context
