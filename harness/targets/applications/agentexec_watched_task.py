"""The task of the harness that a user adds to a pool, so that the harness can watch it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from pydantic import BaseModel

WATCHED_TASK = "harness.watched"


class Watched(BaseModel):
    """The context of the task: its work in seconds."""

    work: float = 0.0


async def watched(agent_id: UUID, context: Watched) -> None:
    """Work for the time."""
    del agent_id
    await asyncio.sleep(context.work)


def add_watched_task(pool: Any) -> None:
    """Add the task to an `ax.Pool`, for `harness chaos run --watch` without an application."""
    pool.add_task(WATCHED_TASK, watched)
