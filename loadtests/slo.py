"""Service levels: objectives, measured values, and the exit code.

Each objective is judged separately. One breach decides the result (exit 1); an objective that cannot be measured is no
success (exit 2), because a load test without load is no evidence. The defaults suit a small, noisy CI machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.history.figures import quantile
from harness.load.thresholds import ThresholdOutcome
from harness.masking import masked
from loadtests.measurement import Measurement


@dataclass(frozen=True, kw_only=True, slots=True)
class Slo:
    """The objectives. Latencies are milliseconds from the intended time, ratios are from 0 to 1.

    enqueue_p95_ms: latency until a task is acknowledged, at most.
    end_to_end_p95_ms: latency until a task is COMPLETE, at most.
    end_to_end_p99_ms: the same for all but one of a hundred tasks; 0 stands for twice `end_to_end_p95_ms`. A stall that
        is too short for the p95 is seen here.
    error_ratio: the share of attempts that were not acknowledged, at most.
    rate_ratio: the share of planned tasks that were acknowledged, at least.
    drain_seconds: the time after the last arrival until every acknowledged task is COMPLETE, at most.
    minimum_tasks: with fewer planned tasks no objective is measurable.
    """

    enqueue_p95_ms: float = 1000.0
    end_to_end_p95_ms: float = 5000.0
    end_to_end_p99_ms: float = 0.0
    error_ratio: float = 0.01
    rate_ratio: float = 0.8
    drain_seconds: float = 20.0
    minimum_tasks: float = 20.0

    def with_overrides(self, texts: Sequence[str]) -> Slo:
        """A copy with the overrides `NAME=VALUE`; raises `UsageError` for an unknown name or invalid value."""
        return replace(self, **dict(_override(text) for text in texts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One objective and its measured value: None if not measurable, infinite if a task never completed."""

    name: str
    wanted: float
    at_least: bool
    unit: str
    measured: float | None

    @property
    def outcome(self) -> ThresholdOutcome:
        """Whether the measured value meets the objective."""
        if self.measured is None:
            return ThresholdOutcome.NOT_MEASURABLE
        met = self.measured >= self.wanted if self.at_least else self.measured <= self.wanted
        return ThresholdOutcome.MET if met else ThresholdOutcome.BREACHED

    def to_json(self) -> dict[str, Any]:
        """As JSON; an infinite value is the string `never`."""
        never = self.measured is not None and math.isinf(self.measured)
        return {**asdict(self), "measured": "never" if never else self.measured, "outcome": self.outcome}


@dataclass(frozen=True, kw_only=True, slots=True)
class SloReport:
    """All objectives of a run."""

    objectives: tuple[Objective, ...]

    @property
    def outcome(self) -> ThresholdOutcome:
        """Breached if any objective is, else not measurable if any is, else met."""
        return ThresholdOutcome.of(
            Verdict.combine(objective.outcome.verdict for objective in self.objectives)
        )

    @property
    def exit_code(self) -> int:
        """0 met, 1 breached, 2 not measurable."""
        return self.outcome.verdict.exit_code

    @property
    def breaches(self) -> tuple[Objective, ...]:
        """The breached objectives."""
        return tuple(
            objective for objective in self.objectives if objective.outcome is ThresholdOutcome.BREACHED
        )


def evaluate(slo: Slo, measurement: Measurement) -> SloReport:
    """Judge a run.

    No objective but that on deadlocks is measurable if no task was attempted, too few were planned, or the history has
    gaps.
    """
    enough = (
        measurement.attempted > 0 and measurement.planned >= slo.minimum_tasks and not measurement.problems
    )
    m = measurement
    lines = (
        ("enqueue p95", slo.enqueue_p95_ms, False, "ms", lambda: quantile(m.enqueue_ms, 0.95)),
        ("end-to-end p95", slo.end_to_end_p95_ms, False, "ms", lambda: quantile(m.end_to_end_ms, 0.95)),
        (
            "end-to-end p99",
            slo.end_to_end_p99_ms or 2 * slo.end_to_end_p95_ms,
            False,
            "ms",
            lambda: quantile(m.end_to_end_ms, 0.99),
        ),
        ("error ratio", slo.error_ratio, False, "", lambda: 1 - m.acknowledged / m.attempted),
        ("achieved rate / planned rate", slo.rate_ratio, True, "", lambda: m.acknowledged / m.planned),
        (f"not COMPLETE {slo.drain_seconds:g} s after the end", 0, False, "tasks", lambda: len(m.incomplete)),
    )
    deadlocks = Objective(
        name="deadlocks in the database", wanted=0, at_least=False, unit="", measured=m.deadlocks.count
    )
    return SloReport(objectives=(*(_objective(*parts, enough=enough) for parts in lines), deadlocks))


def _objective(
    name: str, wanted: float, at_least: bool, unit: str, measure: Callable[[], float | None], *, enough: bool
) -> Objective:
    return Objective(
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
