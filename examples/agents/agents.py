"""Agents as tasks: one asks a model step by step and runs its tools, one performs a plan; both keep checkpoints.

    harness llm serve                                         # prints OPENAI_BASE_URL and OPENAI_API_KEY; set both
    agentexec worker examples.agents.agents:pool              # with DATABASE_URL and REDIS_URL
    python -m examples.agents.agents coding-agent 20 0.01     # enqueue 20 plans, in a hundredth of their time
    harness llm costs http://127.0.0.1:8808                   # what was paid, and what was paid again

A step costs money, and a task that lost its worker runs again from its beginning: without checkpoints it pays all its
earlier steps again and repeats their tool calls. With checkpoints it continues after the last step that it kept.
agentexec has no checkpoints of its own; they are in a table of the application. The fencing token guards them: a worker
that was paused and continues late cannot keep a step again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from pydantic import BaseModel

import agentexec as ax
from harness.load.agents import AgentModel, AgentStep, AgentWork, perform, preset

if TYPE_CHECKING:
    import openai

pool = ax.Pool()

CHECKPOINTS = """CREATE TABLE IF NOT EXISTS agent_checkpoints (
    request uuid PRIMARY KEY, step int NOT NULL, fence bigint NOT NULL, messages jsonb NOT NULL)"""
BILL = "CREATE TABLE IF NOT EXISTS agent_bill (request uuid NOT NULL, step int NOT NULL, tokens int NOT NULL)"
LAST = "SELECT step, messages FROM agent_checkpoints WHERE request = %(request)s"
KEEP = """INSERT INTO agent_checkpoints AS kept VALUES (%(request)s, %(step)s, %(fence)s, %(messages)s)
    ON CONFLICT (request) DO UPDATE
    SET step = %(step)s, fence = %(fence)s, messages = kept.messages || %(messages)s
    WHERE kept.fence <= %(fence)s AND kept.step < %(step)s"""
PAY = "INSERT INTO agent_bill VALUES (%(request)s, %(step)s, %(tokens)s)"

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


class AgentRequest(BaseModel):
    """The plan of a request: the value of an `AgentWork`."""

    work: dict[str, Any]


class AgentAnswer(BaseModel):
    """How many steps the last run performed, and the output tokens of all steps."""

    performed: int
    output_tokens: int


class Checkpoints:
    """The steps of a request that are done: the number of the last one, and the messages of all of them."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], request: UUID) -> None:
        self._connection = connection
        self._request = request
        self.step = 0
        self.messages: list[Any] = []

    @classmethod
    @asynccontextmanager
    async def of(cls, request: UUID) -> AsyncIterator[Checkpoints]:
        """Those of earlier runs of a request, on a connection of their own."""
        url = os.environ["DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            found = cls(connection, request)
            row = await (await connection.execute(LAST, {"request": request})).fetchone()
            if row is not None:
                found.step, found.messages = row
            yield found

    async def keep(self, step: int, tokens: int, messages: list[Any]) -> None:
        """Note that a step is done and paid for; raises `RuntimeError` if a later run has noted it."""
        fence = ax.current_task().fence
        values = {"request": self._request, "fence": fence, "step": step, "tokens": tokens}
        async with self._connection.transaction():
            kept = await self._connection.execute(KEEP, values | {"messages": Jsonb(messages)})
            if kept.rowcount == 0:
                raise RuntimeError("a later run of this request has taken over")
            await self._connection.execute(PAY, values)


def create_tables(database_url: str) -> None:
    """Create the tables of the application."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CHECKPOINTS)
        connection.execute(BILL)


@pool.task("research")
async def research(agent_id: UUID, context: Research) -> Finding:
    """Ask the model until it calls no more tools."""
    import openai  # the other agent needs no model

    async with Checkpoints.of(agent_id) as checkpoints, openai.AsyncOpenAI() as client:
        step, messages = checkpoints.step, checkpoints.messages
        while not messages or messages[-1]["role"] == "tool":
            step += 1
            question = {"role": "user", "content": context.question}
            answered, tokens = await one_step(client, agent_id, step, [question, *messages])
            messages += answered
            if context.checkpoints:
                await checkpoints.keep(step, tokens, answered)
    return Finding(text=messages[-1]["content"], steps=step)


async def one_step(
    client: openai.AsyncOpenAI, agent_id: UUID, step: int, messages: list[Any]
) -> tuple[list[Any], int]:
    """The messages of a step, which are the answer and the result of each tool that it calls; and its output tokens."""
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
    return results, answer.usage.completion_tokens if answer.usage else 0


@pool.task("agent")
async def agent(agent_id: UUID, context: AgentRequest) -> AgentAnswer:
    """Perform the steps of the plan that are not done yet. A step sleeps as long as its model and its tools take."""
    work, task = AgentWork.from_value(context.work), ax.current_task()
    async with Checkpoints.of(agent_id) as checkpoints:

        async def keep(number: int, step: AgentStep) -> None:
            await checkpoints.keep(number, step.output, [])
            task.report(f"step {number} of {len(work.steps)}", 100 * number // len(work.steps))

        performed = await perform(work, first=checkpoints.step + 1, on_step=keep)
    return AgentAnswer(performed=performed, output_tokens=sum(step.output for step in work.steps))


def request(work: AgentWork) -> ax.TaskRequest:
    """A plan as a task; requests of one conversation run one after another."""
    return ax.TaskRequest(
        task_name="agent", context=AgentRequest(work=work.to_value()), lock_key=work.conversation
    )


def main(name: str, number: str, time_scale: str) -> None:
    """Enqueue the first requests of a preset, and print their ids."""
    create_tables(os.environ["DATABASE_URL"])
    works = islice(AgentModel(preset(name), seed=1).works(), int(number))
    for task in ax.enqueue_many_sync([request(work.scaled(float(time_scale))) for work in works]):
        print(task.agent_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
