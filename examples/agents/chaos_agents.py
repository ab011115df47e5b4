"""The agents of this folder under faults: those that perform a plan, and those that ask a model.

harness chaos run kill-worker-mid-task --app examples.agents.chaos_agents:AGENTS
harness chaos run kill-worker-mid-task --app examples.agents.chaos_agents:RESEARCHERS --meter $OPENAI_BASE_URL
"""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import Any

import agentexec as ax
from examples.agents import agents
from harness.load.agents import AgentModel, AgentWork, preset
from harness.testing import app


@cache
def _works() -> list[AgentWork]:
    drawn = islice(AgentModel(preset("research"), seed=1).works(), 500)
    return [work.scaled(0.001) for work in drawn]


def make(number: int) -> ax.TaskRequest:
    """Task `number` of a run: a request of the preset, in a thousandth of its time."""
    return agents.request(_works()[number % len(_works())])


AGENTS = app(agents.pool, setup=agents.create_tables, make=make, work=0)


def ask(number: int) -> tuple[str, agents.Research]:
    """Task `number` of a run: an agent that asks a model, with checkpoints."""
    return "research", agents.Research(question=f"Why {number}?")


RESEARCHERS = app(agents.pool, setup=agents.create_tables, make=ask, work=0)


@AGENTS.invariant(
    "each step is paid for once",
    sql="SELECT request, count(*) = max(step) AND count(DISTINCT step) = max(step) FROM agent_bill GROUP BY 1",
)
def paid_once(rows: Any, completed: Any) -> Any:
    """The completed requests with a step that is missing on the bill, or is there twice."""
    return {task for task in completed if not rows.get(task)}
