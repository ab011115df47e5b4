"""A task that fails, is tried again, and tells somebody when it is given up.

    agentexec worker examples.dlq_pattern:pool

The guide's pattern counts the tries in the context and enqueues the task again by itself. Here that would run it
twice over, since agentexec already tries it again with growing, jittered pauses (AGENTEXEC_MAX_TASK_RETRIES), and puts
it into its dead letters in the end. What is left to the application is what should happen when it is given up:

    agentexec dlq list                     # what was given up, and why
    agentexec dlq requeue ID               # run one of them again

`python examples/dlq_pattern.py` prints the dead letters in code.
"""

from __future__ import annotations

import logging
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from agentexec.producer.client import default_client
from agentexec.queue.dead_letters import DeadLetters

pool = ax.Pool()

logger = logging.getLogger(__name__)


class MyContext(BaseModel):
    """What the work needs; `broken` stands for whatever makes it fail."""

    order: int
    broken: bool = False


class Done(BaseModel):
    """What the work gives."""

    order: int


async def do_work(context: MyContext) -> Done:
    """The work itself."""
    if context.broken:
        raise ValueError(f"order {context.order} cannot be handled")
    return Done(order=context.order)


async def tell_somebody(agent_id: UUID, context: MyContext, reason: str) -> None:
    """What your team wants to see: a ticket, a message, a row. It may happen twice, so key it by the agent_id."""
    logger.error("gave up order %d (%s): %s", context.order, agent_id, reason)


@pool.task("process_with_dlq")
async def process_with_dlq(agent_id: UUID, context: MyContext) -> Done:
    """Work; on the last failure tell somebody and end as a dead letter."""
    try:
        return await do_work(context)
    except ValueError as error:
        if ax.current_task().attempt > pool.settings.max_task_retries:
            await tell_somebody(agent_id, context, str(error))
            ax.activity.error(agent_id, f"Moved to DLQ: {error}")
        raise  # agentexec tries it again, or puts it into the dead letters


def show_dead_letters() -> None:
    """Print what was given up, the latest first."""
    for letter in DeadLetters(default_client().queue).page():
        print(f"{letter.died_at:%Y-%m-%d %H:%M:%S} {letter.task_id} {letter.task_name}: {letter.reason}")


if __name__ == "__main__":
    show_dead_letters()
