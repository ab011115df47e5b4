"""The language of thresholds: "p95 < 2s, lost = 0, errors < 1%" for each row of a load test.

A threshold is a statistic, a comparator and a bound. Thresholds are separated by commas; all of them have to be met.

    threshold   statistic comparator bound
    statistic   p50, p99.9 (any percentile), mean, min, max | rate | count, errors, lost, dropped, late, deadlocks,
                log_errors, wal_bytes_per_task, tokens, tokens_again, cost, cost_again
    comparator  < <= > >= = ==
    bound       latencies: a number with us, ms, s, m or h | rate: a number with /s, or a share of the planned rate
                (0.95, 95%) | errors, lost, dropped, late: a number of tasks, or a share with % | cost, cost_again: a
                number, or one with its currency (2.50 USD) | others: a number | latencies, rate, tokens and cost also:
                times the value of a baseline (1.2x)
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Self

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.load.durations import UNITS
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.masking import masked


class ThresholdOutcome(StrEnum):
    """What a threshold or a whole run came to."""

    MET = "met"
    BREACHED = "breached"
    NOT_MEASURABLE = "not measurable"

    @property
    def verdict(self) -> Verdict:
        """The corresponding verdict of the harness."""
        return {
            ThresholdOutcome.MET: Verdict.VALID,
            ThresholdOutcome.BREACHED: Verdict.INVALID,
            ThresholdOutcome.NOT_MEASURABLE: Verdict.UNKNOWN,
        }[self]

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """The outcome that corresponds to a verdict."""
        return next(outcome for outcome in cls if outcome.verdict is verdict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """One threshold of a row. `bound` is in seconds, in tasks, in tasks per second, a share (0.01 for 1%), or TIMES."""

    row: str
    statistic: str
    comparator: str
    bound: float
    unit: str

    @property
    def text(self) -> str:
        """The threshold without its row, such as "p95 < 2s"."""
        return f"{self.statistic} {self.comparator} {self.shown(self.bound)}"

    def shown(self, value: float) -> str:
        """A value of the statistic, with the unit of the bound."""
        if math.isinf(value):
            return "never" if self.unit == "time" else "infinite"
        match self.unit:
            case "time":
                return shown_time(value)
            case "%":
                return f"{value * 100:.4g}%"
            case "/s" | "x":
                return f"{value:.4g}{self.unit}"
            case _:
                return f"{value:.10g} {self.unit}".rstrip()

    def compare(self, measured: float) -> bool:
        """Whether the measured value is on the right side of the bound."""
        return _COMPARATORS[self.comparator](measured, self.bound)


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdResult:
    """A threshold with the measured value, or with the reason why there is none."""

    threshold: Threshold
    measured: float | None
    reason: str | None = None

    @property
    def outcome(self) -> ThresholdOutcome:
        """Whether the threshold is met."""
        if self.measured is None:
            return ThresholdOutcome.NOT_MEASURABLE
        met = self.threshold.compare(self.measured)
        return ThresholdOutcome.MET if met else ThresholdOutcome.BREACHED

    @property
    def text(self) -> str:
        """One sentence: the row, the threshold, its outcome, and the measured value."""
        found = self.reason if self.measured is None else f"it was {self.threshold.shown(self.measured)}"
        return f"{self.threshold.row}: {self.threshold.text} is {self.outcome}: {found}."

    def to_value(self) -> dict[str, Any]:
        """As JSON; an infinite value is the string "never"."""
        infinite = self.measured is not None and math.isinf(self.measured)
        return {
            "row": self.threshold.row,
            "threshold": self.threshold.text,
            "statistic": self.threshold.statistic,
            "comparator": self.threshold.comparator,
            "bound": self.threshold.bound,
            "unit": _JSON_UNITS.get(self.threshold.unit, self.threshold.unit),
            "measured": "never" if infinite else self.measured,
            "outcome": self.outcome.value,
            "reason": self.reason,
        }


def parse(row: str, text: str) -> tuple[Threshold, ...]:
    """The thresholds of a row; raises `UsageError`."""
    return tuple(_threshold(row, part) for part in text.split(","))


def parse_all(texts: Mapping[str, str]) -> tuple[Threshold, ...]:
    """The thresholds of all rows; raises `UsageError`."""
    return tuple(threshold for row, text in texts.items() for threshold in parse(row, text))


def thresholds_in(module: object, path: str) -> dict[str, str]:
    """The `thresholds` of an imported file by row, none without any; raises `UsageError` with its path."""
    given = getattr(module, "thresholds", {})
    if not isinstance(given, Mapping):
        raise _no_thresholds(f"The `thresholds` of {path}")
    return texts_by_row(given, f"The `thresholds` of {path}")


def texts_by_row(given: object, what: str) -> dict[str, str]:
    """Thresholds by row, or texts with the row in front, one or several; raises `UsageError` for anything else."""
    match given:
        case Mapping() if all(isinstance(part, str) for item in given.items() for part in item):
            return dict(given)
        case str():
            return by_row([given])
        case list() | tuple() if all(isinstance(text, str) for text in given):
            return by_row(given)
        case _:
            raise _no_thresholds(what)


def _no_thresholds(what: str) -> UsageError:
    return UsageError(f'{what} must map a row to its thresholds; write {{"TASK answer": "p95 < 2s"}}.')


def parse_conditions(text: str) -> tuple[Threshold, ...]:
    """Conditions with the name of their row, as in "TASK answer p99 > 2s"; raises `UsageError`.

    A condition without a row has the row of the one before it.
    """
    found = tuple(threshold for threshold, _ in _conditions(text))
    for one in found:
        if one.unit == TIMES:
            raise UsageError(
                f"The condition {_quoted(f'{one.row} {one.text}')} cannot have a baseline; give its bound without x."
            )
    return found


def by_row(texts: Iterable[str]) -> dict[str, str]:
    """Thresholds with their row in front, such as "TASK p95 < 2s", as texts by row; raises `UsageError`."""
    found: dict[str, str] = {}
    for threshold, part in (one for text in texts for one in _conditions(text)):
        row = threshold.row
        found[row] = f"{found[row]}, {part}" if row in found else part
    return found


def _conditions(text: str) -> Iterator[tuple[Threshold, str]]:
    """Each condition, and its text without the row."""
    row = None
    for part in text.split(","):
        matched = _CONDITION.fullmatch(part.strip())
        row = (matched and matched["row"]) or row
        if not matched or row is None:
            raise UsageError(
                f"The condition {_quoted(part)} does not begin with a row; write for example 'TASK answer p99 > 2s'."
            )
        yield _threshold(row, matched["threshold"]), matched["threshold"]


def check_rows(thresholds: Iterable[Threshold], known: Iterable[str]) -> None:
    """Raise `UsageError` for a threshold of a row that is not known."""
    names = list(known)
    for threshold in thresholds:
        if threshold.row not in names:
            raise UsageError(_unknown_row(threshold.row, names))


def evaluate(
    thresholds: Iterable[Threshold],
    rows: Mapping[str, LoadRow],
    baseline: Mapping[str, LoadRow] | None = None,
) -> tuple[ThresholdResult, ...]:
    """Judge all thresholds. A row that saw nothing, or that does not exist, is not measurable.

    `baseline` has the rows of an earlier load.
    """
    return tuple(_evaluated(threshold, rows, baseline or {}) for threshold in thresholds)


def _evaluated(
    threshold: Threshold, rows: Mapping[str, LoadRow], baseline: Mapping[str, LoadRow]
) -> ThresholdResult:
    row = rows.get(threshold.row)
    reason = measured = None
    if row is None:
        reason = _unknown_row(threshold.row, rows).rstrip(".")
    elif not row.count:
        reason = "the row saw nothing"
    else:
        measured = _measure(row, threshold)
        if measured is None or math.isnan(measured):
            measured, reason = None, f"the row has no {threshold.statistic}"
        elif threshold.unit == TIMES:
            measured = _multiple(measured, threshold, baseline)
            reason = f"the baseline has no {threshold.statistic} of this row to compare with"
    return ThresholdResult(
        threshold=threshold, measured=measured, reason=reason if measured is None else None
    )


def _multiple(measured: float, threshold: Threshold, baseline: Mapping[str, LoadRow]) -> float | None:
    before = _before(threshold, baseline)
    return None if before is None else measured / before


def _before(threshold: Threshold, baseline: Mapping[str, LoadRow]) -> float | None:
    """The value of an earlier load; None if nothing can be a multiple of it."""
    before = _measure(baseline[threshold.row], threshold) if threshold.row in baseline else None
    return before if before and math.isfinite(before) else None


def time_bound(threshold: Threshold, baseline: Mapping[str, LoadRow] | None = None) -> float | None:
    """The bound of a latency in seconds; None for another statistic, and for one without its earlier value."""
    if threshold.unit == "time":
        return threshold.bound
    if threshold.unit != TIMES or _units_of(threshold.statistic) != _TIMES:
        return None
    before = _before(threshold, baseline or {})
    return None if before is None else before * threshold.bound


def _measure(row: LoadRow, threshold: Threshold) -> float | None:
    name, share = threshold.statistic, threshold.unit == "%"
    if name == "rate":
        wanted = row.seconds if threshold.unit in ("/s", TIMES) else row.planned
        return (row.count - row.errors) / wanted if wanted else None
    if threshold.unit == "time" or (threshold.unit == TIMES and _units_of(name) == _TIMES):
        return _latency(row.latencies, name)
    value = {"count": row.count, "errors": row.errors}.get(name, row.figures.get(name))
    if value is None or not share:
        return value
    return value / (row.planned if name == "dropped" and row.planned else row.count)


def _latency(latencies: LatencyHistogram, statistic: str) -> float | None:
    if statistic.startswith("p"):
        return latencies.quantile(float(statistic[1:]))
    return {"mean": latencies.mean, "min": latencies.least, "max": latencies.most}[statistic]


def shown_time(seconds: float) -> str:
    """Seconds as text: "1.5s", "20ms"."""
    return f"{seconds:.4g}s" if seconds >= 1 else f"{seconds * 1000:.4g}ms"


def _threshold(row: str, text: str) -> Threshold:
    matched = _THRESHOLD.fullmatch(text.strip())
    if not matched:
        raise UsageError(
            f"The threshold {_quoted(text)} of {_quoted(row)} cannot be read; write for example 'p95 < 2s, lost = 0'."
        )
    statistic = matched["statistic"]
    units = _units_of(statistic)
    if units is None:
        raise UsageError(
            f"There is no statistic {_quoted(statistic)}; choose a percentile such as p95, or one of: "
            f"{', '.join(_STATISTICS)}."
        )
    unit = matched["unit"] or ""
    if unit not in units and not (statistic in MONEY and _CURRENCY.fullmatch(unit)):
        allowed = ", ".join([*(one or "none" for one in units), *(["USD"] if statistic in MONEY else [])])
        raise UsageError(
            f"The bound {_quoted(matched['bound'])} of {statistic} has a wrong unit; its units are: {allowed}."
        )
    return Threshold(
        row=row,
        statistic=statistic,
        comparator=matched["comparator"].replace("==", "="),
        bound=float(Fraction(matched["number"]) * {**UNITS, "%": Fraction(1, 100)}.get(unit, 1)),
        unit="time" if unit in UNITS else "%" if statistic == "rate" and not unit else unit,
    )


def _units_of(statistic: str) -> tuple[str, ...] | None:
    if re.fullmatch(r"p\d+(\.\d+)?", statistic):
        return _TIMES if float(statistic[1:]) <= 100 else None
    return _STATISTICS.get(statistic)


def _unknown_row(row: str, names: Iterable[str]) -> str:
    return (
        f"There is no row {_quoted(row)}; choose one of: {', '.join(sorted(map(masked, names))) or 'none'}."
    )


def _quoted(text: str) -> str:
    return repr(masked(text.strip()))


MONEY = ("cost", "cost_again")
BILLED = ("tokens", "tokens_again", *MONEY)
"""Statistics of the bill of an LLM endpoint; those of `MONEY` need a price list."""

_CURRENCY = re.compile("[A-Z]{3}")
_COMPARATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
TIMES = "x"
"""The unit of a bound that is a multiple of the value of a baseline."""
_TIMES = (*(unit for unit in UNITS if unit != "d"), TIMES)
_TASKS = ("", "%")
_STATISTICS: Mapping[str, tuple[str, ...]] = {
    "mean": _TIMES,
    "min": _TIMES,
    "max": _TIMES,
    "rate": ("", "%", "/s", TIMES),
    "count": ("",),
    "errors": _TASKS,
    "lost": _TASKS,
    "dropped": _TASKS,
    "late": _TASKS,
    "deadlocks": ("",),
    "tokens": ("", TIMES),
    "cost": ("", TIMES),
    "log_errors": ("",),
    "wal_bytes_per_task": ("",),
    "tokens_again": ("",),
    "cost_again": ("",),
}
_JSON_UNITS = {"time": "seconds", "%": "share", "/s": "per second", TIMES: "times the baseline", "": "number"}
_TEXT = (
    r"(?P<statistic>[A-Za-z][\w.]*)\s*(?P<comparator><=|>=|==|=|<|>)\s*"
    r"(?P<bound>(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>[^\s\d.]+)?)"
)
_THRESHOLD = re.compile(_TEXT)
_CONDITION = re.compile(rf"(?:(?P<row>\S.*?)(?:\s*:)?\s+)?(?P<threshold>{_TEXT})")
