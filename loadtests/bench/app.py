"""The measured pool."""

from __future__ import annotations

import asyncio
import os
from functools import cache
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from harness.history import OperationType, Recorder

HISTORY = "BENCH_HISTORY"
STEP_RATES = range(200, 2401, 200)
"""The rates of the benchmark `generator-rate`, in tasks a second."""

pool = ax.Pool()


class Nothing(BaseModel):
    """The context of a task that does nothing."""

    number: int


class Sleep(BaseModel):
    """The context of a task that sleeps and records its begin and end."""

    number: int
    seconds: float = 0.0


@cache
def _recorder() -> Recorder:
    return Recorder.for_worker(Path(os.environ[HISTORY]))


@pool.task("bench.nothing")
async def nothing(agent_id: UUID, context: Nothing) -> None:
    """Do nothing."""


@pool.task("bench.sleep")
async def sleep(agent_id: UUID, context: Sleep) -> None:
    """Record the begin, sleep, record the end."""
    value = {"task": context.number, "attempt": ax.current_task().attempt}
    _recorder().record(OperationType.INVOKE, "run", **value)
    await asyncio.sleep(context.seconds)
    _recorder().record(OperationType.OK, "run", **value)


def step_task(rate: int) -> str:
    """The name of the tasks of a step: each rate has rows of its own in the verdict."""
    return f"bench.step-{rate}"


for rate in STEP_RATES:
    pool.task(step_task(rate))(nothing)
