"""How the run of a handler ended, its result as JSON, and what follows in the record and in the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, TypeAdapter

from agentexec.config import Settings, variable
from agentexec.errors import InvalidTask
from agentexec.queue.protocol import Disposition
from agentexec.store.status import Status
from agentexec.text import checked_json

# NaN and infinity are refused as everywhere, not written as null.
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))
_REMEDY = "return a pydantic model, None, or values that pydantic can write as JSON"


class RunKind(StrEnum):
    """The ways in which a run ends."""

    COMPLETE = "complete"
    RETRY = "retry"  # failed, and runs again after a delay
    FAILED = "failed"  # failed for good: no retry is left, or none would help
    CANCELED = "canceled"
    RELEASED = "released"  # stopped by a shutdown; runs again elsewhere, uncharged
    LOST = "lost"  # the lease is lost: nothing may be recorded


@dataclass(kw_only=True, slots=True)  # not frozen, as `NewActivity`
class RunResult:
    """The end of a run. `delay` (seconds) belongs to RETRY, `result` to COMPLETE, `error` and `traceback` to failures.

    `encoded` is the result as JSON text. `message` is the handler's own text for the log, None for the default.
    `seconds` is the duration of the run, None if it is unknown; then `task_name` is empty.
    """

    task_id: UUID
    token: int
    kind: RunKind
    result: Any = None
    encoded: str = "null"
    error: str | None = None
    traceback: str | None = None
    delay: float = 0.0
    message: str | None = None
    task_name: str = ""
    seconds: float | None = None


class Ending(NamedTuple):
    """The status to record, what to ask of the queue once that is durable, and the default log message."""

    status: Status
    disposition: Disposition | None  # None: release the lease, so that the task keeps its place in the queue
    message: str


def endings(settings: Settings) -> Mapping[RunKind, Ending]:
    """What follows from each kind of end; LOST has no consequences."""
    failed = settings.activity_message_error
    return {
        RunKind.COMPLETE: Ending(Status.COMPLETE, Disposition.ACK, settings.activity_message_complete),
        RunKind.RETRY: Ending(Status.QUEUED, Disposition.RETRY, failed),
        RunKind.FAILED: Ending(Status.ERROR, Disposition.DEAD_LETTER, failed),
        RunKind.CANCELED: Ending(Status.CANCELED, Disposition.ACK, "Canceled on request."),
        RunKind.RELEASED: Ending(Status.QUEUED, None, "Released by a shutdown; it runs again."),
    }


def failed(result: RunResult, reason: str) -> RunResult:
    """The same run as FAILED, whatever its handler decided."""
    return replace(
        result, kind=RunKind.FAILED, error=reason, result=None, encoded="null", message=None, delay=0.0
    )


def json_result(result: Any, limit: int) -> tuple[Any, str]:
    """The result as pydantic writes it, and its JSON text.

    Raises `InvalidTask` for one that has no JSON form, or whose text takes more than `limit` bytes.
    """
    if result is None:
        return None, "null"
    try:
        value = _json_value(result)
    except BaseException as error:  # noqa: BLE001 - a serializer of the application may raise anything
        reason = str(error) if isinstance(error, ValueError | TypeError) else type(error).__name__
        raise InvalidTask(f"The handler's result cannot be written as JSON ({reason}); {_REMEDY}.") from None
    text = checked_json(value, "The handler's result", _REMEDY)
    size = len(text.encode())
    if size > limit:
        raise InvalidTask(
            f"The handler's result takes {size} bytes, more than {variable('max_result_bytes')} allows ({limit}); "
            "store the data elsewhere and return a reference to it."
        )
    return value, text


def _json_value(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json")
    if isinstance(result, Iterator):  # it may have no end
        raise TypeError(f"a {type(result).__name__} is no list")
    return _ANYTHING.dump_python(result, mode="json", by_alias=False)
