"""Which share of submissions did the system acknowledge during faults, and how fast, compared with other times?"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import fault_spans
from harness.history.figures import quantile, quantiles, seconds
from harness.history.machine import bound_lost_to_machine
from harness.history.names import SERVERS
from harness.history.runs import runs
from harness.history.submissions import RecordedSubmission, submissions

PHASES = ("before", "during", "after")

PROMPT_SECONDS = 1.0
"""An acknowledgement within this time of the intended submission is prompt."""

LATE_SECONDS = 0.1
"""The summary reports clients whose p99 of the delay after the intended time is above this."""

_P99 = 0.99
_MOVED = "the clients of the run were late themselves"


class _Wait(NamedTuple):
    """From the actual submission to its answer, or to the end of the history (nanoseconds)."""

    since: int
    until: int

    @property
    def seconds(self) -> float:
        return seconds(self.until - self.since)


@dataclass(kw_only=True, slots=True)
class _Phase:
    """The submissions that were intended in one phase; times are seconds.

    `acknowledged` and `unanswered` count from the intended time, to the answer or to the end of the history. `waits`
    are the same times without the delay of the client. `moved` are submissions that the client made in another phase
    than intended, `moved_accepted` those of them that were acknowledged.
    """

    submissions: int = 0
    moved: int = 0
    moved_accepted: int = 0
    acknowledged: list[float] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)
    waits: list[_Wait] = field(default_factory=list)
    start: list[float] = field(default_factory=list)

    def share(self, number: int) -> float | None:
        """This number of submissions as a share of all; None if there are none."""
        return number / self.submissions if self.submissions else None

    @property
    def prompt(self) -> int:
        """How many were acknowledged within `PROMPT_SECONDS` of the intended time."""
        return sum(one <= PROMPT_SECONDS for one in self.acknowledged)


class _Judgement(NamedTuple):
    """A bound that is not kept: why, whether the system is certainly the cause, and what else may be."""

    why: str
    proven: bool
    otherwise: str


@keeps_settings
def availability(*, minimum_share: float | None = None, enqueue_p99: float | None = None) -> Checker:
    """Figures of submissions and starts before, during and after faults; a verdict only if a bound is given.

    A submission belongs to the phase in which it was intended: *before* until the first fault, *during* while a fault
    is injected and not yet healed, else *after*. `available` is the share of submissions that were acknowledged; an
    unknown outcome does not count. `enqueue` is the time from the intended submission to that answer, or to the end of
    the history if there is no answer at all; `start` is the time from the answer to the first line of the handler.
    INVALID if the share during faults is below `minimum_share` (0 to 1), or the p99 of enqueue during faults is above
    `enqueue_p99` (seconds). UNKNOWN if nothing was submitted, if a bound is given and nothing was submitted during a
    fault, or if the delay of the clients themselves (`late`) or of this machine (`bound_lost_to_machine`) decides
    whether a bound is kept.
    """

    def check(history: History) -> CheckResult:
        phases = _phases(history)
        during = phases["during"]
        figures = _figures(phases) | _lateness(history)
        if sum(phase.submissions for phase in phases.values()) == 0:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="nothing was submitted")
        if during.submissions == 0 and not (minimum_share is None and enqueue_p99 is None):
            summary = "nothing was submitted during a fault"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        judged = [
            *([] if minimum_share is None else _judge_share(during, minimum_share)),
            *([] if enqueue_p99 is None else _judge_p99(history, during, enqueue_p99)),
        ]
        wrong = [one.why for one in judged if one.proven]
        unsure = [f"{one.why}; {one.otherwise}" for one in judged if not one.proven]
        return CheckResult(
            verdict=Verdict.of(wrong=bool(wrong), unsure=bool(unsure)),
            summary="; ".join(wrong or unsure) or _summary(phases, figures["late_p99"]),
            figures=figures,
            counterexamples=tuple({"kind": "unavailable", "why": why} for why in wrong),
        )

    return check


def _judge_share(during: _Phase, bound: float) -> Iterator[_Judgement]:
    """Nothing if the bound is kept; a submission that was moved out of the fault proves nothing about it."""
    accepted, all_of_them = len(during.acknowledged), during.submissions
    least = accepted - during.moved_accepted
    most = accepted + during.moved - during.moved_accepted
    if least / all_of_them < bound:
        share = f"{accepted / all_of_them:.1%} of submissions during faults were acknowledged"
        proven = most / all_of_them < bound
        yield _Judgement(f"{share}, the bound is {bound:.1%}", proven=proven, otherwise=_MOVED)


def _judge_p99(history: History, during: _Phase, bound: float) -> Iterator[_Judgement]:
    """Nothing if the bound is kept, also if no submission without an answer ever gets one."""
    slowest = quantile([*during.acknowledged, *(math.inf for _ in during.unanswered)], _P99)
    if slowest is not None and slowest <= bound:
        return
    p99 = quantile([*during.acknowledged, *during.unanswered], _P99)
    took = "none was acknowledged" if p99 is None else f"p99 {p99:.3f} s"
    why = f"submissions during faults: {took}, the bound is {bound:g} s"
    if not during.waits:  # every answer was a refusal or an unknown outcome
        yield _Judgement(why, proven=during.moved < during.submissions, otherwise=_MOVED)
        return
    excuses = {one: _machine(history, one, bound) for one in during.waits if one.seconds > bound}
    # A wait that the machine excuses keeps the bound: then only the others can make the p99 too long.
    caused = quantile([bound if excuses.get(one) else one.seconds for one in during.waits], _P99)
    reasons = [
        *(one for one in excuses.values() if one is not None),
        *([f"{len(during.unanswered)} have no answer yet"] if p99 is not None and p99 <= bound else []),
        _MOVED,
    ]
    yield _Judgement(why, proven=caused is not None and caused > bound, otherwise=reasons[0])


def _machine(history: History, one: _Wait, bound: float) -> str | None:
    return bound_lost_to_machine(history, one.since, one.until, bound=bound)


def _phases(history: History) -> Mapping[str, _Phase]:
    phases = {name: _Phase() for name in PHASES}
    spans = fault_spans(history)
    started: dict[int, int] = {}
    for run in runs(history):
        started.setdefault(run.task, run.begun.time)
    end = _end(history)
    for one in submissions(history):
        name = _phase(spans, one.intended)
        moved = _phase(spans, one.request.time) != name
        _add(phases[name], one, end=end, moved=moved)
        if one.answer is not None and one.acknowledged and one.task in started:
            phases[name].start.append(max(0.0, seconds(started[one.task] - one.answer.time)))
    return phases


def _add(phase: _Phase, one: RecordedSubmission, *, end: int, moved: bool) -> None:
    phase.submissions += 1
    phase.moved += moved
    phase.moved_accepted += moved and one.acknowledged
    if one.answer is None:
        phase.unanswered.append(seconds(end - one.intended))
        phase.waits.append(_Wait(one.request.time, end))
    elif one.acknowledged:
        phase.acknowledged.append(seconds(one.answer.time - one.intended))
        phase.waits.append(_Wait(one.request.time, one.answer.time))


def _end(history: History) -> int:
    """The last operation of the run itself (nanoseconds): its evidence sources are read later."""
    live = (op.time for op in reversed(history.operations) if op.process not in SERVERS)
    return next(live, 0)


def _phase(spans: Sequence[tuple[int, int]], time: int) -> str:
    if not spans or time < spans[0][0]:
        return "before"
    span = bisect_left(spans, time, key=lambda one: one[1])
    return "during" if span < len(spans) and spans[span][0] <= time else "after"


def _lateness(history: History) -> dict[str, float | None]:
    """How long after their intended time the clients submitted; None if the history does not say it."""
    late = [
        seconds(one.request.time - one.intended)
        for one in submissions(history)
        if "intended" in one.request.value
    ]
    found = quantiles(late)
    return {"late_p99": found["p99"], "late_max": found["max"]}


def _figures(phases: Mapping[str, _Phase]) -> dict[str, float | int | None]:
    figures: dict[str, float | int | None] = {}
    for name, phase in phases.items():
        figures[f"submitted_{name}"] = phase.submissions
        figures[f"available_{name}"] = phase.share(len(phase.acknowledged))
        figures[f"prompt_{name}"] = phase.share(phase.prompt)
        figures[f"unanswered_{name}"] = len(phase.unanswered)
        enqueue = [*phase.acknowledged, *phase.unanswered]
        for what, times in (("enqueue", enqueue), ("start", phase.start)):
            figures |= {f"{what}_{name}_{which}": value for which, value in quantiles(times).items()}
    return figures


def _summary(phases: Mapping[str, _Phase], late: float | None) -> str:
    parts = [_sentence(name, phase) for name, phase in phases.items() if phase.submissions]
    if late is not None and late > LATE_SECONDS:
        parts.append(f"{_MOVED}, p99 {late:.3f} s")
    return "; ".join(parts)


def _sentence(name: str, phase: _Phase) -> str:
    accepted = len(phase.acknowledged)
    text = f"{name} faults {accepted / phase.submissions:.1%} available"
    if name == "during" and phase.prompt < accepted:
        text += f" ({phase.prompt / phase.submissions:.1%} within {PROMPT_SECONDS:g} s)"
    p99 = quantile([*phase.acknowledged, *phase.unanswered], _P99)
    text += "" if p99 is None else f", p99 {p99 * 1e3:.1f} ms"
    return text + (f", {len(phase.unanswered)} without an answer" if phase.unanswered else "")
