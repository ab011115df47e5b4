"""What the activity store can hold, and errors on one line.

Every door through which a value enters has these checks: it is stored as it is given, or refused in one sentence before
anything is written. Messages are the exception: they are cut and repaired, since no task may fail for what it reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from pydantic_core import to_json

from agentexec.errors import AgentexecError, InvalidTask, require
from agentexec.masking import masked

LONGEST_NAME = 255  # characters of the name of a task, a lock key or an idempotency key
DEEPEST = 100  # levels of objects and lists within a JSON value
MAX_MESSAGE = 10_000  # characters of a message or an error that the activity store keeps
MAX_NAMES = 10  # names of a list in a message
MAX_SUMMARY = 300  # characters of an error in a log line or a health report

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)
_UNUSUAL = re.compile(r"NaN|Infinity|\\u0000")  # what may have to be refused
_LONGEST_INTEGER = 4300  # digits that Python reads
_LONG_NUMBER = re.compile(rf"(?<!\d)\d{{{_LONGEST_INTEGER + 1}}}", re.ASCII)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # not the six characters of an escaped backslash and u0000


def storable_text(text: str) -> str:
    """The text as the record keeps it: secrets masked, no NUL, no half of a surrogate pair, at most `MAX_MESSAGE`."""
    require(text, str, "A message is text", 'format it first, as in f"{value}"')
    # Masked before the cut: half of a URL no longer shows where its password is.
    kept = masked(text[: 4 * MAX_MESSAGE]).replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_MESSAGE]
    return kept.encode("utf-8", "replace").decode("utf-8")


def checked_name(value: Any, what: str, error: type[AgentexecError] = InvalidTask) -> str:
    """The name or key, if it is text of 1 to `LONGEST_NAME` characters that Postgres stores; raises `error`."""
    if not isinstance(value, str):
        raise error(f"{what} is text, not {type(value).__name__}.")
    if not 0 < len(value) <= LONGEST_NAME:
        raise error(f"{what} has 1 to {LONGEST_NAME} characters, not {len(value)}.")
    if "\0" in value or not _is_text(value):
        raise error(
            f"{what} contains a NUL or half of a surrogate pair, which Postgres cannot store; remove it."
        )
    return value


def checked_json(value: Any, what: str, remedy: str = "use JSON values only", *, dumped: bool = False) -> str:
    """`storable_json` of `what` a caller gave; raises `InvalidTask` with the reason and the remedy."""
    try:
        return storable_json(value, dumped=dumped)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(f"{what} cannot be written as JSON ({error}); {remedy}.") from None


def storable_json(value: Any, *, dumped: bool = False) -> str:
    """The value as JSON that Postgres accepts; raises TypeError, ValueError or RecursionError with the reason.

    `dumped` says that pydantic made it, so that its keys are text and it has JSON values only.

    Python writes what Postgres refuses: NaN, NUL characters, half surrogate pairs. It turns other keys into text, two
    of them perhaps into the same. What is nested deeper than `DEEPEST` would overflow a stack somewhere later.
    """
    if dumped:
        with suppress(ValueError):  # it cannot write half of a surrogate pair
            plain = to_json(value, inf_nan_mode="constants").decode()
            is_long = len(plain) > _LONGEST_INTEGER and _LONG_NUMBER.search(plain)
            if plain.count("{") + plain.count("[") <= DEEPEST and not is_long and not _UNUSUAL.search(plain):
                return plain
    _check_shape(value)
    text = json_text(value)
    if "\\u0000" in text and _NUL.search(text):  # the first test is forty times as fast
        raise ValueError("it holds a NUL character, which Postgres cannot store; remove it")
    if not _is_text(text):
        raise ValueError("it holds half of a surrogate pair, which is not text; remove it")
    return text


def json_text(value: Any) -> str:
    """The value as JSON without spaces, also where a caller's value would be refused; for values from the record."""
    return _ENCODER.encode(value)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, secrets masked; the name of its type if it has no message."""
    cause = _cause(error)
    lines = str(cause).strip().splitlines()
    return masked(lines[0]) if lines else type(cause).__name__


def summary(error: BaseException) -> str:
    """The type and the first line of an error, secrets masked, at most `MAX_SUMMARY` characters."""
    kind, line = type(_cause(error)).__name__, first_line(error)
    return line if line == kind else f"{kind}: {line}"[:MAX_SUMMARY]


def enumerated(names: Collection[str]) -> str:
    """Names with commas between them; of more than `MAX_NAMES` the first ones, and the number of the others."""
    shown = ", ".join(sorted(names)[:MAX_NAMES])
    more = len(names) - MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _cause(error: BaseException) -> BaseException:
    """The driver's error, if SQLAlchemy wrapped it: the message of the wrapper repeats the statement."""
    driver_error = getattr(error, "orig", None)
    return driver_error if isinstance(driver_error, BaseException) else error


def _check_shape(value: Any) -> None:
    """Raise for keys that are not text, and for more than `DEEPEST` levels, without a look at those below."""
    waiting = [(value, 0)]
    while waiting:  # the last first: a value that contains itself is refused after as many levels
        item, level = waiting.pop()
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                raise TypeError("it has a key that is not text")
            item = item.values()
        elif not isinstance(item, list | tuple):
            continue
        if level > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        waiting += [(inner, level + 1) for inner in item if isinstance(inner, dict | list | tuple)]


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
