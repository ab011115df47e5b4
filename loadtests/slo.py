"""Service levels: what was promised, what was measured, and the exit code that follows.

Each promise is judged on its own. One that is broken outweighs everything (exit 1); one that could not be measured is
no success (exit 2), for a load test without load proves nothing. The defaults leave room for a small, noisy CI machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.masking import masked
from harness.report.scales import quantile
from loadtests.measurement import Measurement


class ObjectiveResult(StrEnum):
    """What became of a promise, in the words of service levels."""

    MET = "met"
    BREACHED = "breached"
    NOT_MEASURABLE = "not measurable"

    @property
    def verdict(self) -> Verdict:
        """The same in the words of the harness."""
        return {
            ObjectiveResult.MET: Verdict.VALID,
            ObjectiveResult.BREACHED: Verdict.INVALID,
            ObjectiveResult.NOT_MEASURABLE: Verdict.UNKNOWN,
        }[self]

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """The outcome that has this verdict."""
        return next(outcome for outcome in cls if outcome.verdict is verdict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slo:
    """The promises. Latencies are milliseconds from the intended time, ratios go from 0 to 1.

    `enqueue_p95_ms` until a task is acknowledged, `end_to_end_p95_ms` until it is COMPLETE; `error_ratio` of attempts
    that were not acknowledged, at most; `rate_ratio` of planned tasks that were acknowledged, at least; `drain_seconds`
    after the last arrival by which everything acknowledged is COMPLETE; `minimum_tasks` that have to be planned for any
    of it to mean something.
    """

    enqueue_p95_ms: float = 1000.0
    end_to_end_p95_ms: float = 5000.0
    error_ratio: float = 0.01
    rate_ratio: float = 0.8
    drain_seconds: float = 20.0
    minimum_tasks: float = 20.0

    def with_overrides(self, texts: Sequence[str]) -> Slo:
        """The same with `NAME=VALUE` for some; raises `UsageError` for an unknown name or a value that is none."""
        return replace(self, **dict(_override(text) for text in texts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One promise: what was wanted, what was measured (None where nothing was, infinite where it never came)."""

    name: str
    wanted: float
    at_least: bool
    unit: str
    measured: float | None

    @property
    def outcome(self) -> ObjectiveResult:
        """Whether the measurement keeps the promise."""
        if self.measured is None:
            return ObjectiveResult.NOT_MEASURABLE
        kept = self.measured >= self.wanted if self.at_least else self.measured <= self.wanted
        return ObjectiveResult.MET if kept else ObjectiveResult.BREACHED

    def to_json(self) -> dict[str, Any]:
        """As JSON, where what never came is the word `never`."""
        never = self.measured is not None and math.isinf(self.measured)
        return {**asdict(self), "measured": "never" if never else self.measured, "outcome": self.outcome}


@dataclass(frozen=True, kw_only=True, slots=True)
class SloReport:
    """All promises of a run."""

    lines: tuple[Line, ...]

    @property
    def outcome(self) -> ObjectiveResult:
        """Breached if any line is, else not measurable if any is, else met."""
        return ObjectiveResult.of(Verdict.combine(line.outcome.verdict for line in self.lines))

    @property
    def exit_code(self) -> int:
        """0 met, 1 breached, 2 not measurable."""
        return self.outcome.verdict.exit_code

    @property
    def breaches(self) -> tuple[Line, ...]:
        """The promises that were broken."""
        return tuple(line for line in self.lines if line.outcome is ObjectiveResult.BREACHED)


def evaluate(slo: Slo, measurement: Measurement) -> SloReport:
    """Judge a run.

    Where nothing was attempted, too little was planned, or the evidence has holes, every line is not measurable.
    """
    enough = (
        measurement.attempted > 0 and measurement.planned >= slo.minimum_tasks and not measurement.problems
    )
    m = measurement
    lines = (
        ("enqueue p95", slo.enqueue_p95_ms, False, "ms", lambda: quantile(m.enqueue_ms, 0.95)),
        ("end-to-end p95", slo.end_to_end_p95_ms, False, "ms", lambda: quantile(m.end_to_end_ms, 0.95)),
        ("error ratio", slo.error_ratio, False, "", lambda: 1 - m.acknowledged / m.attempted),
        ("achieved rate / planned rate", slo.rate_ratio, True, "", lambda: m.acknowledged / m.planned),
        (f"not COMPLETE {slo.drain_seconds:g} s after the end", 0, False, "tasks", lambda: len(m.incomplete)),
    )
    return SloReport(lines=tuple(_line(*parts, enough=enough) for parts in lines))


def _line(
    name: str, wanted: float, at_least: bool, unit: str, measure: Callable[[], float | None], *, enough: bool
) -> Line:
    return Line(
        name=name, wanted=wanted, at_least=at_least, unit=unit, measured=measure() if enough else None
    )


_RATIOS = frozenset({"error_ratio", "rate_ratio"})


def _override(text: str) -> tuple[str, float]:
    names: Mapping[str, Any] = {field.name: field for field in fields(Slo)}
    name, _, value = text.partition("=")
    if name not in names:
        raise UsageError(
            f"There is no service level {masked(name)!r}. Give NAME=VALUE with one of: {', '.join(names)}."
        )
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    highest = 1.0 if name in _RATIOS else math.inf
    if not (0 <= number <= highest and math.isfinite(number)):
        raise UsageError(
            f"The service level {name} cannot be {masked(value)!r}. "
            f"Give {'a number from 0 to 1' if name in _RATIOS else 'a number of 0 or more'}."
        )
    return name, number
