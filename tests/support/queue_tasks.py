"""The pool of the queue's own tests. Its workers import it, so it stands at module level."""

from __future__ import annotations

import asyncio
from uuid import UUID

from pydantic import BaseModel, ConfigDict, field_validator

import agentexec as ax

pool = ax.Pool()


class Nap(BaseModel):
    """How long, in seconds."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = 0.05


class Visit(BaseModel):
    """Whose turn it is. Its validator is one that breaks, as those of applications do."""

    model_config = ConfigDict(extra="forbid")

    user: dict[str, int]

    @field_validator("user")
    @classmethod
    def _has_an_id(cls, value: dict[str, int]) -> dict[str, int]:
        value["id"]  # no ValueError, so pydantic lets it through
        return value


@pool.task("nap")
async def nap(agent_id: UUID, context: Nap) -> Nap:
    """Take a while."""
    await asyncio.sleep(context.seconds)
    return context


@pool.task("visit", lock_key="user:{user[id]}")
async def visit(agent_id: UUID, context: Visit) -> Visit:
    """Run one at a time for each user."""
    return context
