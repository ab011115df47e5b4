"""Text that the activity store can hold, and errors on one line."""

from __future__ import annotations

from collections.abc import Collection

from agentexec.errors import require
from agentexec.masking import masked

MAX_MESSAGE = 10_000  # characters of a message or an error that the activity store keeps
MAX_NAMES = 10  # names of a list in a message
MAX_SUMMARY = 300  # characters of an error in a log line or a health report


def storable_text(text: str) -> str:
    """The text as the record keeps it: secrets masked, no NUL, no half of a surrogate pair, at most `MAX_MESSAGE`."""
    require(text, str, "A message is text", 'format it first, as in f"{value}"')
    # Masked before the cut: half of a URL no longer shows where its password is.
    kept = masked(text[: 4 * MAX_MESSAGE]).replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_MESSAGE]
    return kept.encode("utf-8", "replace").decode("utf-8")


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
