"""Seconds and nearest-rank quantiles of times, for checkers, reports and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second: the unit of all times in a history."""

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}


def seconds(nanoseconds: int) -> float:
    """A length of time in seconds."""
    return nanoseconds / NANOSECONDS


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of at least one value in ascending order; `share` is from 0 to 1."""
    return ordered[max(ceil(share * len(ordered)), 1) - 1]


def quantile(values: Iterable[float], share: float) -> float | None:
    """The nearest-rank quantile of values in any order, None if there are none."""
    ordered = sorted(values)
    return nearest_rank(ordered, share) if ordered else None


def quantiles(values: Iterable[float]) -> Mapping[str, float | None]:
    """p50, p95, p99 and max of the values, each None if there are none."""
    ordered = sorted(values)
    return {name: nearest_rank(ordered, q) if ordered else None for name, q in QUANTILES.items()}


def counted(count: int, noun: str, verb: str = "") -> str:
    """A count with its noun: `1 fault`, `2 faults`, `3 processes`, `4 activities`; with a verb, `1 task is`.

    `verb` is the form of the plural: `are`.
    """
    if count == 1:
        words = ["1", noun, *([_SINGULAR.get(verb, f"{verb}s")] if verb else [])]
    else:
        ies = noun.endswith("y") and noun[-2] not in "aeiou"
        plural = f"{noun[:-1]}ies" if ies else f"{noun}es" if noun.endswith("s") else f"{noun}s"
        words = [f"{count:,}", plural, *([verb] if verb else [])]
    return " ".join(words)


_SINGULAR = {"are": "is", "were": "was", "have": "has", "do": "does"}
