"""Checks of the types in a request, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from types import NoneType
from typing import Any

from pydantic import BaseModel

from agentexec.errors import InvalidTask, checked_number, require, require_list
from agentexec.task import Priority, TaskRequest

_TEXT = (str, type(None))
_FIELDS: tuple[tuple[str, Any, str, str], ...] = (
    ("task_name", str, "A task name is text", "the name comes first, as in enqueue(name, context)"),
    ("context", BaseModel, "A context is a pydantic model", "make an instance of the handler's model"),
    ("metadata", (Mapping, type(None)), "Metadata are a dict", "pass names and JSON values"),
    ("idempotency_key", _TEXT, "An idempotency key is text", "use str(...)"),
    ("lock_key", _TEXT, "A lock key is text", "use str(...)"),
)

_values = attrgetter("task_name", "priority", "delay", "metadata", "idempotency_key", "lock_key")
_PLAIN = (str, Priority, float, NoneType, NoneType, NoneType)


def checked_requests(requests: Any) -> list[TaskRequest]:
    """The requests with a `Priority` each; raises `InvalidTask` for arguments of a wrong type."""
    what, remedy = "enqueue_many takes a list of TaskRequest", "put the requests into a list"
    require_list(requests, what, remedy, error=InvalidTask)
    return [request if _is_plain(request) else _checked(request) for request in requests]


def _is_plain(request: Any) -> bool:
    """Whether every type is the usual one, so that a batch does not pay for the checks below."""
    return (
        type(request) is TaskRequest
        and tuple(map(type, _values(request))) == _PLAIN
        and isinstance(request.context, BaseModel)
    )


def _checked(request: TaskRequest) -> TaskRequest:
    remedy = "write TaskRequest(task_name=..., context=...)"
    require(request, TaskRequest, "A request is a TaskRequest", remedy, error=InvalidTask)
    for name, kinds, what, remedy in _FIELDS:
        require(getattr(request, name), kinds, what, remedy, error=InvalidTask)
    remedy = "give seconds from now, such as timedelta.total_seconds()"
    delay = checked_number(request.delay, "A delay is a number", remedy, error=InvalidTask)
    try:
        return replace(request, delay=delay, priority=Priority(request.priority))
    except ValueError:
        names = " or ".join(Priority)
        raise InvalidTask(f"The priority of {request.task_name} is unknown; use {names}.") from None
