"""An agent behind an HTTP API: one file, two commands.

    agentexec worker examples.api_app:pool                                        # the workers
    uvicorn --factory examples.api_app:make_app --host 127.0.0.1 --port 8000      # the API

    curl -X POST localhost:8000/api/tasks -H 'Content-Type: application/json' \\
         -d '{"task_name": "summarise", "context": {"text": "Call me Ishmael. Some years ago..."}}'
    curl localhost:8000/api/tasks/AGENT_ID/result

Both read DATABASE_URL and REDIS_URL; `agentexec db upgrade` creates the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax

if TYPE_CHECKING:  # workers do not need FastAPI
    from fastapi import FastAPI

pool = ax.Pool()


class Document(BaseModel):
    """The text to summarise."""

    text: str


class Summary(BaseModel):
    """The first sentence, a summary that needs no model."""

    summary: str
    words: int


@pool.task("summarise")
async def summarise(agent_id: UUID, context: Document) -> Summary:
    """The place where an agent would call a model."""
    ax.activity.update(agent_id, "Reading.", 50)
    return Summary(summary=context.text.partition(".")[0] + ".", words=len(context.text.split()))


def make_app() -> FastAPI:
    """The API for the tasks of this pool."""
    from agentexec.api import create_app

    return create_app(task_names=pool.registry)
