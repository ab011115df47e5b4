"""The checker of the load of a chaos run: its thresholds, judged by the history."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import RUNNER, History
from harness.history.names import LOAD
from harness.load.figures import ENQUEUE, RUN, TASK, WAIT
from harness.load.load_in_history import MeasuredLoad, load_evidence, measured_load
from harness.load.load_record import RecordedLoad
from harness.load.machine_excuse import MeasuredSpan, excused
from harness.load.thresholds import ThresholdOutcome, time_bound
from harness.load.verdict import ALL, LoadVerdict, judge

# A load without thresholds has to be put on. Whether tasks are lost is up to the checkers of the run.
_WITHOUT_THRESHOLDS = {ALL: "dropped = 0"}

_QUANTILES = (50, 95, 99)
# The most tasks of a breached threshold that a report names.
_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class JudgedLoad:
    """The load of a history, what became of it, and its verdict."""

    load: RecordedLoad
    measured: MeasuredLoad
    verdict: LoadVerdict


def judged_load(history: History) -> JudgedLoad | None:
    """The load of a history, None if it has none; raises `ValueError` if it cannot be read."""
    return history.derive(_judged)


def load_checker() -> Checker:
    """Every threshold of the load is met, with latencies from the intended time of each task.

    UNKNOWN if the generator was late or left a gap in the evidence, whatever the thresholds came to, and if the machine
    explains what is breached. The counterexamples of a breached TASK latency are the tasks above its bound, the slowest
    first.
    """

    def check(history: History) -> CheckResult:
        judged = judged_load(history)
        if judged is None:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the history has no load")
        return CheckResult(
            verdict=judged.verdict.verdict,
            summary=_summary(judged.verdict),
            figures=dict(_figures(judged)),
            counterexamples=tuple(_counterexamples(judged)),
        )

    return check


def recorded_load(history: History) -> dict[str, Checker]:
    """The checker, for a history that has a load."""
    return {"load": load_checker()} if any(op.process == RUNNER for op in history.where(LOAD)) else {}


def _judged(history: History) -> JudgedLoad | None:
    load = RecordedLoad.of(history)
    if load is None:
        return None
    measured = measured_load(history, load)
    thresholds: Mapping[str, str] = load.plan["thresholds"] or _WITHOUT_THRESHOLDS
    rows = load.baseline_rows
    verdict = judge(load_evidence(history, load, measured), thresholds, rows, defaults=False)
    fair = replace(verdict, results=excused(verdict.results, measured.spans, history, rows))
    return JudgedLoad(load=load, measured=measured, verdict=fair)


def _summary(verdict: LoadVerdict) -> str:
    breached = [one.text for one in verdict.results if one.outcome is ThresholdOutcome.BREACHED]
    texts = breached if verdict.outcome is ThresholdOutcome.BREACHED else [verdict.summary]
    return "; ".join(text.rstrip(".") for text in texts)


def _figures(judged: JudgedLoad) -> Iterator[tuple[str, float | int | None]]:
    evidence = judged.verdict.evidence
    counts = evidence.accounting
    for name in ("due", "sent", "late", "dropped", "refused", "unknown", "acknowledged", "lost"):
        yield name, getattr(counts, name)
    for row in (ENQUEUE, TASK, WAIT, RUN):
        found = evidence.rows[row].latencies.quantiles(_QUANTILES)
        for quantile, value in zip(_QUANTILES, found, strict=True):
            yield f"{row.lower()}_p{quantile}", None if value is None or math.isinf(value) else value
    yield "generator_p99", counts.noticed.quantile(99)


def _counterexamples(judged: JudgedLoad) -> Iterator[Mapping[str, Any]]:
    breached = [one for one in judged.verdict.results if one.outcome is ThresholdOutcome.BREACHED]
    for one in breached:
        yield {"kind": "breached", "why": one.text}
    above: dict[int, MeasuredSpan] = {}
    for one in breached:
        bound = time_bound(one.threshold, judged.load.baseline_rows)
        if bound is not None and one.threshold.row.partition(" ")[0] == TASK:
            spans = judged.measured.spans.get(one.threshold.row, ())
            above |= {span.task: span for span in spans if span.seconds > bound}
    for span in sorted(above.values(), key=lambda span: -span.seconds)[:_NAMED]:
        took = "never" if span.end is None else round(span.seconds, 3)
        yield {"kind": "slow", "task": span.task, "seconds": took}
