"""Agents as tasks: a handler that performs the steps of an agent request, and continues after a crash where it was.

    agentexec worker examples.agents.agents:pool              # with DATABASE_URL and REDIS_URL
    python -m examples.agents.agents coding-agent 20 0.01     # enqueue 20 requests, in a hundredth of their time

A request has many steps, and a step costs money: a run that begins again at step 1 pays twice. So the handler keeps a
checkpoint after each step. agentexec has no checkpoints of its own; they are in a table of the application. The fencing
token guards them: a worker that was paused and continues late cannot pay for a step again.
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

import agentexec as ax
from harness.load.agents import AgentModel, AgentStep, AgentWork, perform, preset

pool = ax.Pool()

CHECKPOINTS = """CREATE TABLE IF NOT EXISTS agent_checkpoints (
    request uuid PRIMARY KEY, step int NOT NULL, fence bigint NOT NULL)"""
BILL = "CREATE TABLE IF NOT EXISTS agent_bill (request uuid NOT NULL, step int NOT NULL, tokens int NOT NULL)"
LAST = "SELECT step FROM agent_checkpoints WHERE request = %(request)s"
KEEP = """INSERT INTO agent_checkpoints AS kept VALUES (%(request)s, %(step)s, %(fence)s)
    ON CONFLICT (request) DO UPDATE SET step = %(step)s, fence = %(fence)s
    WHERE kept.fence <= %(fence)s AND kept.step < %(step)s"""
PAY = "INSERT INTO agent_bill VALUES (%(request)s, %(step)s, %(tokens)s)"


class AgentRequest(BaseModel):
    """The plan of a request: the value of an `AgentWork`."""

    work: dict[str, Any]


class AgentAnswer(BaseModel):
    """How many steps the last run performed, and the output tokens of all steps."""

    performed: int
    output_tokens: int


def create_tables(database_url: str) -> None:
    """Create the tables of the application."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CHECKPOINTS)
        connection.execute(BILL)


@pool.task("agent")
async def agent(agent_id: UUID, context: AgentRequest) -> AgentAnswer:
    """Perform the steps that have no checkpoint yet. A step sleeps as long as its model and its tools take."""
    work, task = AgentWork.from_value(context.work), ax.current_task()
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:

        async def keep(number: int, step: AgentStep) -> None:
            values = {"request": agent_id, "step": number, "fence": task.fence, "tokens": step.output}
            async with connection.transaction():
                kept = await connection.execute(KEEP, values)
                if kept.rowcount == 0:
                    raise RuntimeError("a later run of this request has taken over")
                await connection.execute(PAY, values)
            task.report(f"step {number} of {len(work.steps)}", 100 * number // len(work.steps))

        last = await (await connection.execute(LAST, {"request": agent_id})).fetchone()
        await connection.commit()
        performed = await perform(work, first=1 + (last[0] if last else 0), on_step=keep)
    return AgentAnswer(performed=performed, output_tokens=sum(step.output for step in work.steps))


def request(work: AgentWork) -> ax.TaskRequest:
    """A request as a task; requests of one conversation run one after another."""
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
