"""What the API takes and gives, as pydantic models."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

from agentexec.store.status import Status
from agentexec.task import LONGEST_DELAY, Priority

DEEPEST = 100  # levels of objects and lists in each other

_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(value: Any) -> Any:
    """The value, if Postgres can store it as JSON; raises ValueError for one too deep, or with what JSON has not."""
    for item in _leaves(value):
        if isinstance(item, float):
            if not math.isfinite(item):
                raise ValueError("holds a number that is not finite")
        elif "\x00" in item:
            raise ValueError("holds a NUL character, which the record cannot store")
        elif _SURROGATE.search(item):
            raise ValueError("holds half of a surrogate pair, which is no text")
    return value


def _leaves(value: Any) -> Iterator[str | float]:
    """Every text, key and float, level by level: no depth can exhaust the stack."""
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} levels deep")
        below: list[Any] = []
        for item in level:
            match item:
                case str() | float():
                    yield item
                case dict():
                    yield from item
                    below += item.values()
                case list():
                    below += item
        level, depth = below, depth + 1


Object = Annotated[dict[str, Any], AfterValidator(storable)]


class Context(RootModel[dict[str, Any]]):
    """A task's context as it was sent; its handler's own model validates it in the worker."""


class NewTask(BaseModel):
    """A task to be created. `delay` is in seconds."""

    model_config = ConfigDict(extra="forbid")

    task_name: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(storable)]
    context: Object = Field(default_factory=dict)
    priority: Priority = Priority.LOW
    metadata: Object | None = None
    delay: float = Field(default=0.0, ge=0, le=LONGEST_DELAY, allow_inf_nan=False)


class Created(BaseModel):
    """A task that is recorded. `note` is there where it waits for room in the queue."""

    agent_id: UUID
    task_name: str
    note: str | None = None


class StandingBody(BaseModel):
    """Where a task stands, and what follows from that."""

    agent_id: UUID
    status: Status
    note: str | None = None


class ResultBody(BaseModel):
    """What a completed task returned; None where its handler returned nothing."""

    agent_id: UUID
    status: Status
    result: Any = None


class Failure(BaseModel):
    """Why a task has no result and never will."""

    agent_id: UUID
    status: Status
    error: str


class Refusal(BaseModel):
    """One sentence with the remedy."""

    detail: str
