"""An agent that asks a model step by step and runs the tools that it asks for, with and without checkpoints.

    harness llm serve                                    # prints OPENAI_BASE_URL and OPENAI_API_KEY; set both
    agentexec worker examples.agent:pool                 # the workers, with DATABASE_URL and REDIS_URL
    harness llm costs http://127.0.0.1:8808              # what was paid, and what was paid again

A task that lost its worker runs again from its beginning. Without checkpoints it pays all its earlier steps again and
repeats their tool calls. With checkpoints it continues after the last step that it stored.
"""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

import openai
import psycopg
from psycopg.types.json import Jsonb
from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool()

TABLE = """CREATE TABLE IF NOT EXISTS agent_steps (
    agent_id uuid NOT NULL, step int NOT NULL, messages jsonb NOT NULL, PRIMARY KEY (agent_id, step))"""
STORE = "INSERT INTO agent_steps (agent_id, step, messages) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
STORED = "SELECT messages FROM agent_steps WHERE agent_id = %s ORDER BY step"

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string"}},
                "required": ["query"],
            },
        },
    }
]


class Research(BaseModel):
    """What the agent has to find out."""

    question: str
    checkpoints: bool = True


class Finding(BaseModel):
    """The last answer of the model."""

    text: str
    steps: int


def create_tables(database_url: str) -> None:
    """Create the table of checkpoints."""
    with psycopg.connect(database_url) as connection:
        connection.execute(TABLE)


@pool.task("research")
async def research(agent_id: UUID, context: Research) -> Finding:
    """Ask until the model calls no more tools."""
    database = await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)
    async with database, openai.AsyncOpenAI() as client:
        messages: list[Any] = [{"role": "user", "content": context.question}]
        stored = await database.execute(STORED, (agent_id,))
        steps = [row[0] async for row in stored] if context.checkpoints else []
        while not steps or len(steps[-1]) > 1:
            asked = [*messages, *(message for step in steps for message in step)]
            steps.append(await one_step(client, agent_id, len(steps), asked))
            if context.checkpoints:
                await database.execute(STORE, (agent_id, len(steps), Jsonb(steps[-1])))
    return Finding(text=steps[-1][0]["content"], steps=len(steps))


async def one_step(client: openai.AsyncOpenAI, agent_id: UUID, step: int, messages: list[Any]) -> list[Any]:
    """The messages of one step: the answer of the model, and the result of each tool that it calls."""
    # The meter groups by these headers, so that a step that is paid twice is found.
    labels = {"X-Activity-Id": str(agent_id), "X-Activity-Step": str(step)}
    answer = await client.chat.completions.create(
        model="simulated-model", messages=messages, tools=TOOLS, extra_headers=labels
    )
    message = answer.choices[0].message
    results: list[Any] = [message.model_dump(exclude_none=True)]
    for call in message.tool_calls or ():
        headers = {**labels, "X-Tool-Call-Id": call.id}
        result = await client.post("/tools/search", cast_to=object, body={}, options={"headers": headers})
        results.append({"role": "tool", "tool_call_id": call.id, "content": str(result)})
    return results
