"""Latencies on a machine that did not keep up: a breach that the machine explains is not judged.

This is the rule of all checkers with a bound of time, which `harness.history.machine` has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from harness.history import History
from harness.history.figures import seconds
from harness.history.machine import bound_lost_to_machine
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.load.thresholds import ThresholdOutcome, ThresholdResult, evaluate, time_bound

# Below any bound by more than a histogram rounds.
_WITHIN = 0.99


class MeasuredSpan(NamedTuple):
    """What a latency measures: a task from `start` to `end`, in nanoseconds; `end` is None if it never came."""

    task: int
    start: int
    end: int | None

    @property
    def seconds(self) -> float:
        """The latency, infinite if its end never came; clocks of two servers may differ by a little."""
        return math.inf if self.end is None else max(0.0, seconds(self.end - self.start))


def excused(
    results: Sequence[ThresholdResult],
    spans: Mapping[str, Sequence[MeasuredSpan]],
    history: History,
    baseline: Mapping[str, LoadRow],
) -> tuple[ThresholdResult, ...]:
    """The results; a breached bound of time is not measurable if the latencies that the machine explains decide it.

    `baseline` has the rows of the earlier load of which a bound is a multiple.
    """
    return tuple(_excused(one, spans.get(one.threshold.row, ()), history, baseline) for one in results)


def _excused(
    result: ThresholdResult,
    spans: Sequence[MeasuredSpan],
    history: History,
    baseline: Mapping[str, LoadRow],
) -> ThresholdResult:
    threshold = result.threshold
    bound = time_bound(threshold, baseline)
    if result.outcome is not ThresholdOutcome.BREACHED or bound is None or result.measured is None:
        return result
    reasons: list[str] = []
    kept = LatencyHistogram()
    for one in spans:
        took = one.seconds
        if one.end is not None and took > bound:
            why = bound_lost_to_machine(history, one.start, one.end, bound=bound)
            if why is not None:
                reasons.append(why)
                took = bound * _WITHIN
        kept.record(took)
    row = {threshold.row: LoadRow(latencies=kept, count=len(spans))}
    if not reasons or evaluate([threshold], row, baseline)[0].outcome is not ThresholdOutcome.MET:
        return result
    found = threshold.shown(result.measured)
    return replace(result, measured=None, reason=f"it was {found}, and {reasons[0]}")
