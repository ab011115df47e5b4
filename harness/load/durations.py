"""Lengths of time as seconds or as text: "30s", "1m", "1h30m", "250ms"."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from harness.errors import UsageError
from harness.masking import masked

UNITS = {
    "us": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}
"""Seconds of each unit of time, exact: as floats, 7 * 0.01 is not 0.07."""

Duration = float | str

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*")


def seconds_of(duration: Duration, what: str = "duration") -> float:
    """The seconds of a length of time above 0; a number is seconds. Raises `UsageError` that names `what` is wrong."""
    seconds = _parsed(duration) if isinstance(duration, str) else number_of(duration)
    if not (0 < seconds < math.inf):
        raise UsageError(
            f"The {what} cannot be {masked(repr(duration))}; give seconds above 0, or a text such as '30s' or '1h30m'."
        )
    return seconds


def duration_text(seconds: float) -> str:
    """A length of time as text, with at most two units: 5400 is "1h30m"."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    if seconds < 60:
        return f"{seconds:g}s"
    parts, left = [], round(seconds)
    for unit in ("d", "h", "m", "s"):
        whole, left = divmod(left, int(UNITS[unit]))
        parts += [f"{whole}{unit}"] if whole else []
    return "".join(parts[:2])


def number_of(value: object) -> float:
    """The value as a float, NaN if it is no number."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _parsed(text: str) -> float:
    compact = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    parts = _PART.findall(compact)
    if not parts or _PART.sub("", compact):
        return math.nan
    return float(sum(Fraction(number) * UNITS[unit] for number, unit in parts))
