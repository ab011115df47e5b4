"""Checks of the types of arguments: a wrong type is one sentence that says what to pass instead.

A sentence names types only, never values: a value may be a URL with a password.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from pydantic import BaseModel

from agentexec.errors import AgentexecError, WrongArgument


def require(
    value: Any,
    kinds: Any,
    what: str,
    remedy: str,
    *,
    error: type[AgentexecError] = WrongArgument,
) -> None:
    """Raise `error` unless the value is one of `kinds`, as `isinstance` takes them.

    The sentence begins with `what`, such as "A name is text", and ends with `remedy`.
    """
    if not isinstance(value, kinds):
        raise error(f"{what}, not {_named(value)}; {remedy}.")


def require_number(
    value: Any, what: str, remedy: str, *, error: type[AgentexecError] = WrongArgument
) -> None:
    """`require` for a number; a bool is none."""
    if isinstance(value, bool):
        raise error(f"{what}, not bool; {remedy}.")
    require(value, (Real, Decimal), what, remedy, error=error)


def require_list(value: Any, what: str, remedy: str, *, error: type[AgentexecError] = WrongArgument) -> None:
    """`require` for something with items; text, a dict and a pydantic model are none."""
    if isinstance(value, str | bytes | Mapping | BaseModel):
        raise error(f"{what}, not {type(value).__name__}; {remedy}.")
    require(value, Iterable, what, remedy, error=error)


def require_metadata(value: Any, owner: str, *, error: type[AgentexecError] = WrongArgument) -> None:
    """`require` for metadata, which are a dict or None."""
    require(
        value,
        (Mapping, type(None)),
        f"The metadata of {owner} are a dict",
        "pass key=value pairs",
        error=error,
    )


def whole_percentage(percentage: Any) -> int | None:
    """The percentage without its fraction, which the log cannot store; None for None.

    Raises `WrongArgument` unless it is a number or None, ValueError unless it is from 0 to 100.
    """
    if percentage is None:
        return None
    require_number(percentage, "percentage is a number", "give one from 0 to 100")
    if not 0 <= percentage <= 100:
        raise ValueError(f"percentage is between 0 and 100, not {percentage}")
    return int(percentage)


def _named(value: Any) -> str:
    if value is None:
        return "None"
    if inspect.iscoroutine(value):
        return "a coroutine that nothing awaits"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
