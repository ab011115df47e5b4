"""The tasks of the pool under test: names, contexts, and the variable with the version of the application."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

TASK_NAME = "harness.numbered"
NEW_TASK_NAME = "harness.numbered_2"
ENV_VERSION = "HARNESS_APPLICATION_VERSION"


class Numbered(BaseModel):
    """The context of a task: its number, seconds of work, its gate, its lock key, and how many attempts fail."""

    model_config = ConfigDict(extra="forbid")

    number: int
    work: float = 0.0
    gate: str | None = None
    lock: str | None = None
    fails: int = 0


class Numbered2(Numbered):
    """The context of version 2."""

    note: str = ""
