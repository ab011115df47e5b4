"""Results as the types that their handlers return."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentexec.errors import AgentexecError, WrongArgument
from agentexec.producer.routing import definitions
from agentexec.task import TaskDefinition


def known_type(task_name: str) -> Any:
    """What the annotation of this task's handler says that it returns; None if this process does not know it."""
    first, *others = [result_type_of(definition) for definition in definitions(task_name)] or [None]
    return first if all(kind == first for kind in others) else None


def result_type_of(definition: TaskDefinition) -> Any:
    """What the annotation of the handler says that it returns; None if it does not say so, or for no result."""
    kind = definition.result_type
    return None if kind is type(None) or _adapter(kind) is None else kind


def typed(value: Any, kind: Any) -> Any:
    """JSON values as a value of `kind`; as they are for None and `Any`. None, a handler's no result, stays None.

    Raises `AgentexecError` for values that do not fit, `WrongArgument` for a type that pydantic cannot build.
    """
    if value is None or kind is None or kind is Any:
        return value
    adapter = _adapter(kind)
    if adapter is None:
        raise WrongArgument(f"result_type is a type that pydantic can build, not {kind!r}; pass a model.")
    text = json.dumps(value)
    try:
        return adapter.validate_json(text, by_alias=True, by_name=True)
    except ValidationError:
        pass
    try:  # computed fields, and those of another version
        return adapter.validate_json(text, by_alias=True, by_name=True, extra="ignore")
    except ValidationError as error:
        fields = ", ".join(
            ".".join(map(str, e["loc"])) or "the whole" for e in error.errors(include_input=False)
        )
        raise AgentexecError(
            f"The result does not fit {getattr(kind, '__name__', kind)} ({fields}); "
            "result_type=Any gives it as JSON values."
        ) from None


def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    """The adapter of a type, None for one that pydantic cannot build."""
    try:
        return _kept(kind)
    except TypeError:  # it has no hash
        return _built(kind)


def _built(kind: Any) -> TypeAdapter[Any] | None:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
    except Exception:  # noqa: BLE001 - pydantic raises errors of many kinds for what is no type
        return None
    return adapter if adapter.pydantic_complete else None


_kept = lru_cache(maxsize=1024)(_built)
