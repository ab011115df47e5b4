"""Tests of handlers without servers: `pytest examples/testing_handlers.py`.

The handlers would stand in a module of the application; docs/howto/test-your-handlers.md explains the three ways.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from agentexec import testing

pool = ax.Pool()


class Question(BaseModel):
    """What a user asks."""

    text: str


class Answer(BaseModel):
    """What an agent answers."""

    text: str


@pool.task("answer")
async def answer(agent_id: UUID, context: Question) -> Answer:
    """Answer in capitals; the first attempt of a hard question fails."""
    ax.activity.update(agent_id, "thinking", 10)
    if context.text.startswith("hard") and ax.current_task().attempt == 1:
        raise ConnectionError("the model does not answer")
    return Answer(text=context.text.upper())


async def ask(text: str) -> Answer:
    """Code of the application that enqueues a task and waits for it."""
    task = await ax.enqueue("answer", Question(text=text))
    result: Answer = await ax.get_result(task)
    return result


def test_a_handler_by_itself() -> None:
    """`running` gives the task that the handler reads."""
    with testing.running(attempt=2) as task:
        result = asyncio.run(answer(agent_id=task.agent_id, context=Question(text="hard: why?")))
    assert result == Answer(text="HARD: WHY?")
    assert task.reports == [("thinking", 10)]


def test_a_task_with_its_retries() -> None:
    """`run` does what a worker does."""
    outcome = testing.run(pool, "answer", Question(text="hard: why?"))
    assert (outcome.status, outcome.attempt) == ("complete", 2)
    assert outcome.result == Answer(text="HARD: WHY?")


def test_code_that_enqueues() -> None:
    """`eager` runs every task of the block at once."""

    async def scene() -> None:
        with testing.eager(pool):
            assert await ask("why?") == Answer(text="WHY?")

    asyncio.run(scene())
