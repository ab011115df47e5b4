"""Tasks, their handlers, and their payloads. No I/O."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections import abc
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from typing import Any, NamedTuple, TypedDict, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from agentexec.config import LONGEST_DURATION
from agentexec.errors import InvalidTask, RegistrationError, checked_number, require
from agentexec.text import checked_json, checked_name, json_text

LONGEST_DELAY = LONGEST_DURATION

# Each with the number of its type argument that is the result.
_AWAITABLES: dict[Any, int] = {Awaitable: 0, Coroutine: 2, asyncio.Future: 0, asyncio.Task: 0}
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)

Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[..., Any]
ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


class Priority(StrEnum):
    """HIGH goes before LOW; every eighth claim is made from the low end, so that LOW does not starve."""

    HIGH = "high"
    LOW = "low"

    @property
    def level(self) -> int:
        """The ready list of this priority; 0 is served first."""
        return 0 if self is Priority.HIGH else 1


class Task(BaseModel):
    """A recorded task, as `enqueue` returns it; `get_result` takes it."""

    model_config = ConfigDict(frozen=True)

    task_name: str
    agent_id: UUID
    context: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """One task to be enqueued with `enqueue_many`. `delay` is in seconds.

    Two requests with the same `idempotency_key` are one task, also from different processes; with another task name
    or queue the second one is refused (`IdempotencyConflict`). Contexts are not compared: a repeated request may carry
    a new time. Tasks with the same `lock_key` run one at a time, in the order in which they were enqueued; for None,
    the template of the task's registration applies.
    """

    task_name: str
    context: BaseModel
    priority: Priority = Priority.LOW
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    lock_key: str | None = None
    delay: float = 0.0


class EnqueueOptions(TypedDict, total=False):
    """The options of one task that is enqueued; `TaskRequest` describes them."""

    priority: Priority
    metadata: Mapping[str, Any] | None
    idempotency_key: str | None
    lock_key: str | None
    delay: float


class UncheckedContext(RootModel[dict[str, Any]]):
    """A context as it was sent or recorded; the worker validates it with the model of the handler."""

    # As it is, to be refused: pydantic would write null in place of NaN.
    model_config = ConfigDict(ser_json_inf_nan="constants")


class TaskOptions(TypedDict, total=False):
    """The options of a task's registration; time limits are in seconds. `Pool.task` describes them."""

    lock_key: str | None
    soft_time_limit: float | None
    time_limit: float | None
    max_retries: int | None
    retry_on: ExceptionTypes | None


class TaskDefinition:
    """A handler under its name, with the model that validates its context."""

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        lock_key: str | None = None,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
        max_retries: int | None = None,
        retry_on: ExceptionTypes | None = None,
    ) -> None:
        """Take the context model from the handler's annotations; raises `RegistrationError` for what is wrong."""
        check_name(name)
        _check_options(name, handler, lock_key, max_retries, retry_on)
        self.name = checked_name(name, "A task name", RegistrationError)
        self.context_type, self.is_async, self.result_type = _inspect(handler)
        self.handler = handler
        self.lock_template = lock_key
        self.soft_time_limit = _checked_limit(name, "soft_time_limit", soft_time_limit)
        self.time_limit = _checked_limit(name, "time_limit", time_limit)
        self.max_retries = max_retries
        self.retry_on = retry_on

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the context model; a version with other fields or types has another one."""
        try:
            schema = json.dumps(self.context_type.model_json_schema(), sort_keys=True)
        except Exception:  # noqa: BLE001 - an application's type may raise anything, and JSON schemas cannot express each
            fields = self.context_type.model_fields.items()
            schema = repr(sorted((name, str(f.annotation), f.is_required()) for name, f in fields))
        return hashlib.blake2b(schema.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def lock_key(self, context: Mapping[str, Any] | BaseModel) -> str | None:
        """The lock key of a task with this context: of its validated fields, under their names and as JSON values.

        Raises `InvalidTask` if the context does not fit or the template needs another field.
        """
        if self.lock_template is None:
            return None
        try:
            validated = context if isinstance(context, BaseModel) else self.validate(context)
            key = self.lock_template.format_map(validated.model_dump(mode="json", by_alias=False))
        except Exception as error:  # noqa: BLE001 - a serializer of the application may raise anything
            raise InvalidTask(
                f"The lock key {self.lock_template!r} of {self.name} cannot be made from its context ({error!r})."
            ) from None
        return checked_name(key, f"The lock key of {self.name}")

    def validate(self, context: Mapping[str, Any]) -> BaseModel:
        """Build the handler's context; raises `InvalidTask` that names the wrong fields, without their values."""
        try:
            return read_context(self.context_type, context)
        except InvalidTask as error:
            raise InvalidTask(
                f"The context of {self.name} does not fit {self.context_type.__name__}: {error}."
            ) from error.__cause__

    def may_retry(self, error: BaseException) -> bool:
        """Whether another attempt may help after this error: for a group, after each of its errors."""
        if self.retry_on is None or isinstance(error, self.retry_on):
            return True
        return isinstance(error, BaseExceptionGroup) and all(map(self.may_retry, error.exceptions))


class Registry(dict[str, TaskDefinition]):
    """The tasks of a pool by name."""

    def add(self, definition: TaskDefinition) -> None:
        """Register a task; raises `RegistrationError` if another handler has its name."""
        known = self.get(definition.name)
        if known is not None and known.handler is not definition.handler:
            raise RegistrationError(
                f"The task name {definition.name!r} is registered twice; give one of the handlers another name."
            )
        self[definition.name] = definition

    def fingerprints(self) -> dict[str, str]:
        """Names and the fingerprints of the context models."""
        return {name: definition.fingerprint for name, definition in self.items()}


def encode_payload(task_name: str, context: Any, *, dumped: bool = False) -> bytes:
    """The payload of a task: JSON, never pickle. Raises `InvalidTask` if the context has no JSON form.

    `dumped` says that pydantic made the context (`storable_json`).
    """
    return payload_of(task_name, checked_json(context, f"The context of {task_name}", dumped=dumped))


def payload_of(task_name: str, context: str) -> bytes:
    """The payload of a task whose context is JSON text."""
    return f'{{"task_name":{json_text(task_name)},"context":{context}}}'.encode()


def decode_payload(payload: bytes) -> tuple[str, dict[str, Any]]:
    """Task name and context of a payload; raises `InvalidTask` that says what is wrong with the bytes."""
    try:
        try:
            data = from_json(payload)
        except ValueError:  # it refuses half of a surrogate pair and 200 levels, which json reads
            data = json.loads(payload)
    except (ValueError, RecursionError):
        raise InvalidTask("The payload is not JSON.") from None
    data = data if isinstance(data, dict) else {}
    name, context = data.get("task_name"), data.get("context")
    if not isinstance(name, str) or not isinstance(context, dict):
        raise InvalidTask("The payload lacks a task_name or a context object.")
    return name, context


def check_name(name: Any) -> None:
    """Raise `RegistrationError` unless it is text: the decorator may have been written without a name."""
    remedy = 'write @pool.task("name")'
    require(name, str, "A task is registered under a name", remedy, error=RegistrationError)


def _check_options(name: str, handler: Any, lock_key: Any, max_retries: Any, retry_on: Any) -> None:
    """Raise `RegistrationError` for a handler or an option that is wrong."""
    refused, what, remedy = RegistrationError, f"The handler of {name} is a function", "pass it itself"
    require(handler, abc.Callable, what, remedy, error=refused)
    what, remedy = f"The lock key of {name} is a template", 'write text such as "user:{user_id}"'
    require(lock_key, (str, type(None)), what, remedy, error=refused)
    problem = None
    types = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    is_count = isinstance(max_retries, int) and not isinstance(max_retries, bool) and max_retries >= 0
    if not (max_retries is None or is_count):
        problem = f"max_retries {max_retries!r} is wrong; give a whole number from 0"
    if not (retry_on is None or all(isinstance(t, type) and issubclass(t, BaseException) for t in types)):
        problem = f"retry_on {retry_on!r} is wrong; give an exception type or a tuple of them"
    if problem is not None:
        raise RegistrationError(f"The {problem}, or leave it out (task {name}).")


def _checked_limit(name: str, option: str, limit: Any) -> float | None:
    """A time limit in seconds, None for none; raises `RegistrationError` if it is no number or out of range."""
    if limit is None:
        return None
    what = f"A time limit of {name} is a number"
    seconds = checked_number(limit, what, "give seconds", error=RegistrationError)
    if not 0 < seconds <= LONGEST_DURATION:
        raise RegistrationError(
            f"The {option} {limit!r} is wrong; give seconds above 0, at most {LONGEST_DURATION:g}, or leave it out "
            f"(task {name})."
        )
    return seconds


def read_context(model: type[Model], context: Mapping[str, Any]) -> Model:
    """Build a handler's context from its JSON value; raises `InvalidTask` with the problems, without any value.

    A field may come under its name and under its alias. Strict types take what JSON has for them.
    """
    try:
        return _validated(model, context)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'context'}: {e['msg']}"
            for e in error.errors(include_input=False)
        )
        raise InvalidTask(problems) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a validator of the application may raise anything
        raise InvalidTask(f"its validation raised {type(error).__name__}") from error


def _validated(model: type[Model], context: Mapping[str, Any]) -> Model:
    # The rules of JSON read a text as UUID in `str | UUID`, so they only apply where those of Python do not fit. Bytes
    # that the model writes as base64 are read by the rules of JSON alone.
    if model.model_config.get("val_json_bytes", "utf8") == "utf8":
        try:
            return model.model_validate(context, by_alias=True, by_name=True)
        except ValidationError:
            pass
    return model.model_validate_json(_ANYTHING.dump_json(context), by_alias=True, by_name=True)


class _Signature(NamedTuple):
    """The context model of a handler, where it runs, and the type of its result, None if it does not say so."""

    context_type: type[BaseModel]
    is_async: bool  # on the event loop; otherwise in a thread
    result_type: Any


def _inspect(handler: Callable[..., Any]) -> _Signature:
    """The signature of a handler; raises `RegistrationError` for what cannot be a handler.

    A coroutine function runs on the event loop, and so does a function that is annotated to return an awaitable.
    """
    function = _function(handler)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(
            f"{_label(handler)} is a generator, which a task cannot run; return its result instead of `yield`."
        )
    hints = _annotations(handler)
    returned, is_async = hints.get("return"), inspect.iscoroutinefunction(function)
    place = next((n for kind, n in _AWAITABLES.items() if kind in (returned, get_origin(returned))), None)
    if place is not None and not is_async:
        arguments = get_args(returned)
        returned, is_async = (arguments[place] if len(arguments) > place else None), True
    return _Signature(_context_type(handler, hints), is_async, returned)


def _function(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a call of the handler runs, for a partial and for an object with `__call__`."""
    while isinstance(handler, partial):
        handler = handler.func
    if inspect.isroutine(handler) or inspect.isclass(handler):
        return handler
    function: Callable[..., Any] = type(handler).__call__
    return function


def _annotations(handler: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(_function(inspect.unwrap(_function(handler))))
    except (NameError, TypeError, ValueError) as error:
        raise RegistrationError(
            f"The annotations of {_label(handler)} cannot be resolved ({error}); import the model at module level."
        ) from None


def _context_type(handler: Callable[..., Any], hints: dict[str, Any]) -> type[BaseModel]:
    try:
        parameters = inspect.signature(handler).parameters
    except (TypeError, ValueError):  # something built in
        parameters = inspect.Signature().parameters
    if "agent_id" not in parameters or "context" not in parameters:
        raise RegistrationError(
            f"{_label(handler)} needs the parameters `agent_id: UUID` and `context: YourModel`."
        )
    context = hints.get("context")
    if not (isinstance(context, type) and issubclass(context, BaseModel)):
        raise RegistrationError(
            f"{_label(handler)} needs its `context` annotated with a pydantic model, not {context!r}."
        )
    return context


def _label(handler: Callable[..., Any]) -> str:
    return f"handler {getattr(handler, '__qualname__', repr(handler))}"
