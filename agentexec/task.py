"""Tasks, the handlers that run them, and how a task travels. No I/O."""

from __future__ import annotations

import inspect
import json
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeGuard, get_type_hints
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from agentexec.core import runtime
from agentexec.errors import InvalidTask, RegistrationError

# Seconds, a year. A longer delay is usually a number of milliseconds.
LONGEST_DELAY = 366 * 24 * 3600.0

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # not the six characters of an escaped backslash and u0000

Handler = Callable[..., BaseModel | None] | Callable[..., Awaitable[BaseModel | None]]


class Priority(StrEnum):
    """HIGH goes before LOW; every eighth claim is made from the low end, so that LOW never starves."""

    HIGH = "high"
    LOW = "low"

    @property
    def level(self) -> int:
        """The ready list of this priority; 0 is served first."""
        return 0 if self is Priority.HIGH else 1


class Task(BaseModel):
    """A task that is recorded: what `enqueue` returns, and what its result is asked by."""

    model_config = ConfigDict(frozen=True)

    task_name: str
    agent_id: UUID
    context: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """One task to be enqueued with `enqueue_many`. `delay` is in seconds.

    Two requests with the same `idempotency_key` are one task, also when they come from different processes.
    Tasks with the same `lock_key` run one at a time, in the order in which they were enqueued; where it is
    None, the template of the task's registration decides.
    """

    task_name: str
    context: BaseModel
    priority: Priority = Priority.LOW
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    lock_key: str | None = None
    delay: float = 0.0


class TaskDefinition:
    """A handler under its name, with the model its context is validated by."""

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        lock_key: str | None = None,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
    ) -> None:
        """Read context and result types off the handler's annotations; raises `RegistrationError` where
        they are missing.
        """
        if not name or len(name) > 255:
            raise RegistrationError(f"A task name has 1 to 255 characters; {name[:40]!r} has {len(name)}.")
        self.name = name
        if any(limit is not None and limit <= 0 for limit in (soft_time_limit, time_limit)):
            raise RegistrationError(
                f"The time limits of {name} are seconds above 0; leave them out for none."
            )
        self.lock_template = lock_key
        self.soft_time_limit = soft_time_limit
        self.time_limit = time_limit
        self.handler = handler
        self.is_async = inspect.iscoroutinefunction(handler)
        hints = _hints(handler)
        self.context_type = _context_type(handler, hints)
        result = hints.get("return")
        self.result_type: type[BaseModel] | None = result if _is_model(result) else None

    def lock_key(self, context: Mapping[str, Any]) -> str | None:
        """The lock key of a task with this context; raises `InvalidTask` where the template asks for
        another field.
        """
        if self.lock_template is None:
            return None
        try:
            return self.lock_template.format_map(context)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            raise InvalidTask(
                f"The lock key {self.lock_template!r} of {self.name} cannot be made from its context ({error!r})."
            ) from None

    def validate(self, context: Mapping[str, Any]) -> BaseModel:
        """Build the handler's context; raises `InvalidTask` that says which fields are wrong, without their
        values.
        """
        try:
            return self.context_type.model_validate(context)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'context'}: {e['msg']}"
                for e in error.errors(include_input=False)
            )
            raise InvalidTask(
                f"The context of {self.name} does not fit {self.context_type.__name__}: {problems}."
            ) from None
        except Exception as error:  # a validator of the application may raise anything
            raise InvalidTask(
                f"The context of {self.name} does not fit {self.context_type.__name__}: "
                f"its validation raised {type(error).__name__}."
            ) from error


@dataclass(slots=True)
class Registry:
    """The handlers of a pool by name."""

    _tasks: dict[str, TaskDefinition] = field(default_factory=dict)

    def add(self, definition: TaskDefinition) -> None:
        """Register a task; raises `RegistrationError` when the name is taken by another handler."""
        known = self._tasks.get(definition.name)
        if known is not None and known.handler is not definition.handler:
            raise RegistrationError(
                f"The task name {definition.name!r} is registered twice; give one of the handlers another name."
            )
        self._tasks[definition.name] = definition

    @property
    def has_locks(self) -> bool:
        """Whether any task has a lock key."""
        return any(definition.lock_template is not None for definition in self._tasks.values())

    def get(self, name: str) -> TaskDefinition | None:
        """The task of that name, or None."""
        return self._tasks.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def encode_payload(task_name: str, context: Any) -> bytes:
    """What travels through Redis: JSON, never pickle. Raises `InvalidTask` where the context has no JSON
    form.
    """
    try:
        return storable_json({"task_name": task_name, "context": context}).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(f"The context of {task_name} cannot be written as JSON ({error}).") from None


def storable_json(value: Any) -> str:
    """The value as JSON that Postgres takes; raises TypeError, ValueError or RecursionError that says why not.

    Python writes three things that Postgres refuses: NaN, NUL characters, and half surrogate pairs.
    """
    text = _ENCODER.encode(value)
    if "\\u0000" in text and _NUL.search(text):  # the first look is forty times as fast
        raise ValueError("it holds a NUL character, which Postgres cannot store; remove it")
    text.encode()
    return text


def decode_payload(payload: bytes) -> tuple[str, dict[str, Any]]:
    """Task name and context of a payload; raises `InvalidTask` that says what is wrong with the bytes."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        raise InvalidTask("The payload is not JSON.") from None
    match data:
        case {"task_name": str(name), "context": dict(context)}:
            return name, context
        case _:
            raise InvalidTask("The payload lacks a task_name or a context object.")


def retry_delay(attempt: int, *, base: float, cap: float, rng: random.Random | None = None) -> float:
    """Seconds to wait before the next try after failed attempt number `attempt` (from 1): full jitter.

    Uniform in [0, min(cap, base * 2^(attempt-1))]; "Exponential Backoff And Jitter", AWS Architecture Blog,
    2015.
    """
    ceiling = min(cap, base * 2 ** min(attempt - 1, 60))
    return (rng or runtime.current()).uniform(0, ceiling)


def _hints(handler: Handler) -> dict[str, Any]:
    try:
        return get_type_hints(handler)
    except NameError as error:
        raise RegistrationError(
            f"The annotations of {_label(handler)} cannot be resolved ({error}); import the model at module level."
        ) from None


def _context_type(handler: Handler, hints: Mapping[str, Any]) -> type[BaseModel]:
    parameters = inspect.signature(handler).parameters
    if "agent_id" not in parameters or "context" not in parameters:
        raise RegistrationError(
            f"{_label(handler)} needs the parameters `agent_id: UUID` and `context: YourModel`."
        )
    context = hints.get("context")
    if not _is_model(context):
        raise RegistrationError(
            f"{_label(handler)} needs its `context` annotated with a pydantic model, not {context!r}."
        )
    return context


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _label(handler: Handler) -> str:
    return f"handler {getattr(handler, '__qualname__', repr(handler))}"
