"""The pool of the production tests. Its workers import it, so it stands at module level."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool()

logger = logging.getLogger("app")


class Message(BaseModel):
    """What the tasks take and give."""

    text: str = ""


@pool.task("echo")
async def echo(agent_id: UUID, context: Message) -> Message:
    """Give back what came."""
    ax.activity.update(agent_id, "halfway", 50)
    return context


@pool.task("fail")
async def fail(agent_id: UUID, context: Message) -> None:
    """Fail with the text, and log it."""
    logger.error("failing with %s", context.text)
    raise ValueError(context.text)


@pool.task("wait")
async def wait(agent_id: UUID, context: Message) -> None:
    """Run until it is canceled."""
    await asyncio.Event().wait()


@pool.task("flaky")
async def flaky(agent_id: UUID, context: Message) -> Message:
    """Fail at the first attempt, end well at the second."""
    if ax.current_task().attempt == 1:
        raise ValueError(context.text)
    return context


@pool.task("held")
def held(agent_id: UUID, context: Message) -> Message:
    """Run while the file exists that the text names."""
    while Path(context.text).exists():
        time.sleep(0.05)
    return context


@pool.task("die")
async def die(agent_id: UUID, context: Message) -> Message:
    """Kill its worker process at the first attempt, end well at the second."""
    if ax.current_task().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return context


@pool.task("freeze")
def freeze(agent_id: UUID, context: Message) -> Message:
    """Stop its worker process at the first attempt, end well at the second."""
    if ax.current_task().attempt == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    return context
