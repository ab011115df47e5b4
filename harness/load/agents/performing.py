"""Perform agent work in a handler: by sleeping, or with a real call for each step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from harness.load.agents.work import AgentStep, AgentWork

Llm = Callable[[int, AgentStep], Awaitable[object]]
"""Performs the LLM call of a step by its number, from 1, for example against the simulated LLM endpoint."""
StepDone = Callable[[int, AgentStep], Awaitable[object]]
"""Receives the number of a step, from 1, and the step, when it has ended."""


async def perform(
    work: AgentWork, *, first: int = 1, llm: Llm | None = None, on_step: StepDone | None = None
) -> int:
    """Perform the steps from number `first`, one after another; returns how many have been performed.

    Without `llm`, a step sleeps for the time of its LLM call. Tool calls always sleep. `on_step` runs after each step:
    a handler keeps its checkpoint there, and passes the next number as `first` when it runs again.
    """
    steps = work.steps[first - 1 :]
    for number, step in enumerate(steps, first):
        await (asyncio.sleep(step.llm_seconds) if llm is None else llm(number, step))
        for call in step.calls:
            await asyncio.sleep(call.seconds)
        if on_step is not None:
            await on_step(number, step)
    return len(steps)


def step_headers(activity: str, number: int, step: AgentStep) -> dict[str, str]:
    """The headers with which the simulated LLM endpoint answers in the sizes of a step, and meters it as that step.

    The prompt itself may then be short: its tokens are those of the plan.
    """
    return {
        "X-Activity-Id": activity,
        "X-Activity-Step": str(number),
        "X-Simulated-Prompt-Tokens": str(step.new_input + step.cached_input),
        "X-Simulated-Cached-Tokens": str(step.cached_input),
        "X-Simulated-Completion-Tokens": str(step.output),
    }
