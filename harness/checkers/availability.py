"""How well did the system serve its clients while something was broken, against before and after?"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History, OperationType
from harness.history.reading import fault_windows, quantiles, runs, seconds, task_of

PHASES = ("before", "during", "after")


@dataclass(kw_only=True, slots=True)
class _Phase:
    """What clients met in one phase; times in seconds."""

    submissions: int = 0
    accepted: int = 0
    enqueue: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)


def availability(*, minimum_share: float | None = None, enqueue_p99: float | None = None) -> Checker:
    """Submissions and starts before, during and after faults in figures; a verdict only where a bound is asked for.

    A submission is *before* until the first fault, *during* while a fault is injected and not yet healed, else *after*.
    `available` is the share of submissions that were acknowledged: an unknown outcome is not. `enqueue` is the time to
    that answer, `start` from the answer to the first line of the handler. INVALID where the share during faults is
    below `minimum_share` (0 to 1), or the p99 of enqueue during them above `enqueue_p99` (seconds). UNKNOWN where
    nothing was submitted, and where a bound is asked for and nothing was submitted during a fault.
    """

    def check(history: History) -> CheckResult:
        phases = _phases(history)
        hurt = phases["during"]
        figures = _figures(phases)
        if sum(phase.submissions for phase in phases.values()) == 0:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="nothing was submitted")
        if hurt.submissions == 0 and not (minimum_share is None and enqueue_p99 is None):
            summary = "nothing was submitted while something was broken"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        share, p99 = figures["available_during"], figures["enqueue_during_p99"]
        wrong = []
        if minimum_share is not None and share is not None and share < minimum_share:
            wrong.append(
                f"{share:.1%} of submissions during faults were acknowledged, {minimum_share:.1%} are asked for"
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
    windows = fault_windows(history)
    started: dict[int, int] = {}
    for run in runs(history):
        started.setdefault(run.task, run.begun.time)
    asked: dict[int, int] = {}
    for op in history.where("enqueue"):
        task = task_of(op)
        if op.type is OperationType.INVOKE:
            asked[task] = op.time
            phases[_phase(windows, op.time)].submissions += 1
        elif op.type is OperationType.OK and (since := asked.pop(task, None)) is not None:
            phase = phases[_phase(windows, since)]
            phase.accepted += 1
            phase.enqueue.append(seconds(op.time - since))
            if task in started:
                phase.start.append(max(0.0, seconds(started[task] - op.time)))
    return phases


def _phase(windows: Sequence[tuple[int, int]], time: int) -> str:
    if not windows or time < windows[0][0]:
        return "before"
    window = bisect_left(windows, time, key=lambda one: one[1])
    return "during" if window < len(windows) and windows[window][0] <= time else "after"


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
