"""Request and response bodies, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agentexec.store.status import Status
from agentexec.task import LONGEST_DELAY, Priority
from agentexec.text import storable_json


def storable(value: Any) -> Any:
    """The value, if Postgres can store it as JSON; raises ValueError if it cannot."""
    storable_json(value)
    return value


Object = Annotated[dict[str, Any], AfterValidator(storable)]


class NewTask(BaseModel):
    """A task to create. `delay` is in seconds."""

    model_config = ConfigDict(extra="forbid")

    task_name: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(storable)]
    context: Object = Field(default_factory=dict)
    priority: Priority = Priority.LOW
    metadata: Object | None = None
    delay: float = Field(default=0.0, ge=0, le=LONGEST_DELAY, allow_inf_nan=False)


class Created(BaseModel):
    """A recorded task. `note` is set if it waits for room in the queue."""

    agent_id: UUID
    task_name: str
    note: str | None = None


class _TaskBody(BaseModel):
    agent_id: UUID
    status: Status


class StandingBody(_TaskBody):
    """The status of a task, and what follows from it."""

    note: str | None = None


class ResultBody(_TaskBody):
    """The result of a completed task; None if its handler returned nothing."""

    result: Any = None


class Failure(_TaskBody):
    """Why a task has no result and will have none."""

    error: str


class Refusal(BaseModel):
    """What is wrong, and what to do."""

    detail: str
