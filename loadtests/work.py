"""The context, result and name of the load's task."""

from __future__ import annotations

from pydantic import BaseModel

TASK_NAME = "loadtests.work"


class Work(BaseModel):
    """Seconds of work, and padding for the payload size of the profile."""

    seconds: float
    padding: str = ""


class TaskDone(BaseModel):
    """The result of a task: the size of its padding."""

    size: int
