"""What a task of the load is told, and the name under which pools know it."""

from __future__ import annotations

from pydantic import BaseModel

TASK_NAME = "loadtests.work"


class Work(BaseModel):
    """Seconds of work, and padding that makes the payload as large as a profile says."""

    seconds: float
    padding: str = ""


class TaskDone(BaseModel):
    """What a task returns: the size of its padding."""

    size: int
