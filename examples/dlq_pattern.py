"""A task that is retried after failures and notifies the team when it becomes a dead letter.

    agentexec worker examples.dlq_pattern:pool
    agentexec dlq list                         # the dead letters, with reasons
    agentexec dlq requeue ID                   # run one of them again
    python -m examples.dlq_pattern             # list them in code

The guide's pattern counts retries in the context and enqueues the task again. Here that would run the task twice:
agentexec retries it with growing, jittered delays (AGENTEXEC_MAX_TASK_RETRIES) and then moves it to the dead letters.
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


class Order(BaseModel):
    """The order to process; `broken` makes it fail."""

    order: int
    broken: bool = False


async def do_work(context: Order) -> Order:
    """Process the order."""
    if context.broken:
        raise ValueError(f"order {context.order} cannot be handled")
    return context


async def notify_team(agent_id: UUID, context: Order, reason: str) -> None:
    """Report a task that was given up. A crash may repeat this, so a real one is idempotent by agent_id."""
    logger.error("gave up order %d (%s): %s", context.order, agent_id, reason)


@pool.task("process_with_dlq")
async def process_with_dlq(agent_id: UUID, context: Order) -> Order:
    """Process an order; on the last failure notify the team and end the task for good."""
    try:
        return await do_work(context)
    except ValueError as error:
        if ax.current_task().attempt > pool.settings.max_task_retries:
            await notify_team(agent_id, context, str(error))
            ax.activity.error(agent_id, f"Moved to DLQ: {error}")
        raise  # agentexec retries the task or moves it to the dead letters


if __name__ == "__main__":
    client = default_client()
    for letter in DeadLetters(client.queue, client.engine).page():
        print(f"{letter.died_at:%Y-%m-%d %H:%M:%S} {letter.task_id} {letter.task_name}: {letter.reason}")
