"""Which share of submissions did the system acknowledge during faults, and how fast, compared with other times?"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History, OperationType
from harness.history.faults import fault_spans
from harness.history.figures import quantiles, seconds
from harness.history.runs import runs
from harness.history.submissions import submissions

PHASES = ("before", "during", "after")


@dataclass(kw_only=True, slots=True)
class _Phase:
    """The submissions of one phase; times are seconds."""

    submissions: int = 0
    accepted: int = 0
    enqueue: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)


def availability(*, minimum_share: float | None = None, enqueue_p99: float | None = None) -> Checker:
    """Figures of submissions and starts before, during and after faults; a verdict only if a bound is given.

    A submission is *before* until the first fault, *during* while a fault is injected and not yet healed, else *after*.
    `available` is the share of submissions that were acknowledged; an unknown outcome does not count. `enqueue` is the
    time to that answer, `start` the time from the answer to the first line of the handler. INVALID if the share during
    faults is below `minimum_share` (0 to 1), or the p99 of enqueue during faults is above `enqueue_p99` (seconds).
    UNKNOWN if nothing was submitted, or if a bound is given and nothing was submitted during a fault.
    """

    def check(history: History) -> CheckResult:
        phases = _phases(history)
        during = phases["during"]
        figures = _figures(phases)
        if sum(phase.submissions for phase in phases.values()) == 0:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="nothing was submitted")
        if during.submissions == 0 and not (minimum_share is None and enqueue_p99 is None):
            summary = "nothing was submitted during a fault"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        share, p99 = figures["available_during"], figures["enqueue_during_p99"]
        wrong = []
        if minimum_share is not None and share is not None and share < minimum_share:
            wrong.append(
                f"{share:.1%} of submissions during faults were acknowledged, the bound is {minimum_share:.1%}"
            )
        if enqueue_p99 is not None and (p99 is None or p99 > enqueue_p99):
            took = "none was acknowledged" if p99 is None else f"p99 {p99:.3f} s"
            wrong.append(f"submissions during faults: {took}, the bound is {enqueue_p99:g} s")
        return CheckResult(
            verdict=Verdict.INVALID if wrong else Verdict.VALID,
            summary="; ".join(wrong) or _summary(phases),
            figures=figures,
            counterexamples=tuple({"kind": "unavailable", "why": why} for why in wrong),
        )

    return check


def _phases(history: History) -> Mapping[str, _Phase]:
    phases = {name: _Phase() for name in PHASES}
    spans = fault_spans(history)
    started: dict[int, int] = {}
    for run in runs(history):
        started.setdefault(run.task, run.begun.time)
    for task, request, answer in submissions(history):
        phase = phases[_phase(spans, request.time)]
        phase.submissions += 1
        if answer is not None and answer.type is OperationType.OK:
            phase.accepted += 1
            phase.enqueue.append(seconds(answer.time - request.time))
            if task in started:
                phase.start.append(max(0.0, seconds(started[task] - answer.time)))
    return phases


def _phase(spans: Sequence[tuple[int, int]], time: int) -> str:
    if not spans or time < spans[0][0]:
        return "before"
    span = bisect_left(spans, time, key=lambda one: one[1])
    return "during" if span < len(spans) and spans[span][0] <= time else "after"


def _figures(phases: Mapping[str, _Phase]) -> dict[str, float | int | None]:
    figures: dict[str, float | int | None] = {}
    for name, phase in phases.items():
        figures[f"submitted_{name}"] = phase.submissions
        figures[f"available_{name}"] = phase.accepted / phase.submissions if phase.submissions else None
        for what, times in (("enqueue", phase.enqueue), ("start", phase.start)):
            figures |= {f"{what}_{name}_{which}": value for which, value in quantiles(times).items()}
    return figures


def _summary(phases: Mapping[str, _Phase]) -> str:
    parts = []
    for name, phase in phases.items():
        if phase.submissions:
            share = phase.accepted / phase.submissions
            p99 = quantiles(phase.enqueue)["p99"]
            parts.append(
                f"{name} faults {share:.1%} available" + ("" if p99 is None else f", p99 {p99 * 1e3:.1f} ms")
            )
    return "; ".join(parts)
