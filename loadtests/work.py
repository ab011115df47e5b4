"""The contexts, results and names of the load's tasks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

TASK_NAME = "loadtests.work"
AGENT_TASK_NAME = "loadtests.agent"


class Work(BaseModel):
    """Seconds of work, and padding for the payload size of the profile."""

    seconds: float
    padding: str = ""


class TaskDone(BaseModel):
    """The result of a task: the size of its padding."""

    size: int


class AgentPlan(BaseModel):
    """A request of an agent: the value of a `harness.load.agents.AgentWork`."""

    work: dict[str, Any]


class AgentDone(BaseModel):
    """The result of a request of an agent: its steps, tool calls and output tokens."""

    steps: int
    calls: int
    output_tokens: int
