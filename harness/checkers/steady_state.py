"""Do tasks start as promptly after the last fault as before the first one?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import injected_faults
from harness.history.figures import NANOSECONDS, counted, quantiles, seconds
from harness.history.machine import bound_lost_to_machine
from harness.history.names import LOAD, SERVERS
from harness.history.promises import promises
from harness.history.runs import runs
from harness.history.submissions import submissions

PHASES = ("before", "during", "after")

WITHIN_SECONDS = 1.0
"""A task that starts within this time of its intended submission is prompt."""

SETTLED_SECONDS = 2.0
"""The time after the last heal until tasks start as before, for a history without a promise."""

KEPT = 0.9
"""The share of what was before the faults that the steady state keeps."""

MINIMUM = 10
"""The fewest tasks before and after the faults that can be compared."""


class _Task(NamedTuple):
    """An acknowledged task: when it was due, when it had to start, and when it did, or None (nanoseconds)."""

    number: int
    due: int
    deadline: int
    started: int | None


@dataclass(kw_only=True, slots=True)
class _Period:
    """The tasks that were due in a phase, and how many tasks a second ended in it."""

    tasks: list[_Task] = field(default_factory=list)
    rate: float | None = None

    @property
    def late(self) -> list[_Task]:
        return [one for one in self.tasks if one.started is None or one.started > one.deadline]

    @property
    def prompt(self) -> float | None:
        """The share that started in time; None without a task."""
        return 1 - len(self.late) / len(self.tasks) if self.tasks else None


@keeps_settings
def steady_state() -> Checker:
    """After the last heal, tasks start as promptly as before the first fault, or as many end in a second.

    A phase has the tasks that were due in it: *before* the first fault, *during* faults until the last heal, *after*
    it. A task is prompt if it starts within `WITHIN_SECONDS` of that time; after the faults, it may also start until
    `steady_within` (promised) after the last heal. A task that was due before the first fault and had neither started
    nor missed its time by then counts for nothing. INVALID if the share of prompt tasks after the faults is below
    `KEPT` of that before them, and so is the rate of returned handlers. UNKNOWN if the tasks that this machine slowed
    down decide it, or if nothing was submitted. NOT ASKED without enough tasks to compare, if no handler returned
    before the first fault, and for a load of its own, which is not the same at all times.
    """

    def check(history: History) -> CheckResult:
        if not submissions(history):
            return CheckResult(verdict=Verdict.UNKNOWN, summary="nothing was submitted")
        faults = injected_faults(history)
        phases: Mapping[str, _Period] = {name: _Period() for name in PHASES}
        if faults:
            first, last = faults[0].start, max(fault.until for fault in faults)
            phases = _phases(history, first, last)
        before, after = phases["before"], phases["after"]
        figures = _figures(phases)
        why = _not_compared(history, before, after)
        if why is not None:
            return CheckResult(verdict=Verdict.NOT_ASKED, summary=f"{_summary(phases)}{why}", figures=figures)
        kept = _is_kept(before, after, excused=0)
        late = [] if kept else after.late
        excuses = [text for one in late if (text := _excuse(history, one)) is not None]
        excused = bool(excuses) and _is_kept(before, after, excused=len(excuses))
        return CheckResult(
            verdict=Verdict.of(wrong=not kept and not excused, unsure=not kept),
            summary=_summary(phases) + (f"; not judged, too slow: {excuses[0]}" if excused else ""),
            figures=figures,
            counterexamples=explain(history, _examples(late)),
        )

    return check


def _phases(history: History, first: int, last: int) -> Mapping[str, _Period]:
    made = promises(history)
    settled = SETTLED_SECONDS if made is None or made.steady_within is None else made.steady_within
    settles = last + round(settled * NANOSECONDS)
    started: dict[int, int] = {}
    for run in runs(history):
        started.setdefault(run.task, run.begun.time)
    phases = {name: _Period() for name in PHASES}
    for one in submissions(history):
        if not one.acknowledged:
            continue
        deadline, begun = one.intended + round(WITHIN_SECONDS * NANOSECONDS), started.get(one.task)
        if one.intended >= last:
            phases["after"].tasks.append(_Task(one.task, one.intended, max(deadline, settles), begun))
        elif one.intended >= first:
            phases["during"].tasks.append(_Task(one.task, one.intended, deadline, begun))
        elif deadline < first or (begun is not None and begun < first):
            phases["before"].tasks.append(_Task(one.task, one.intended, deadline, begun))
    _set_rates(history, phases, first, last)
    return phases


def _set_rates(history: History, phases: Mapping[str, _Period], first: int, last: int) -> None:
    """The rates of returned handlers; after the faults, until most tasks ended, because the last ones trickle."""
    ends = sorted(run.ended.time for run in runs(history) if run.finished and run.ended is not None)
    begin = min((one.intended for one in submissions(history)), default=first)
    spans = {"before": (begin, first), "during": (first, last)}
    found = {name: [time for time in ends if start <= time < end] for name, (start, end) in spans.items()}
    for name, (start, end) in spans.items():
        phases[name].rate = len(found[name]) / seconds(end - start) if end > start else None
    later = [time for time in ends if time >= last]
    left = sum(one.acknowledged for one in submissions(history)) - (len(ends) - len(later))
    most = max(1, round(left * KEPT))
    end = later[most - 1] if len(later) >= most else _end(history)
    phases["after"].rate = min(most, len(later)) / seconds(end - last) if end > last else None


def _not_compared(history: History, before: _Period, after: _Period) -> str | None:
    """Why the phases are not compared; None if they are."""
    if next(history.where(LOAD), None) is not None:
        return "; a load of its own differs over time, and its thresholds judge it"
    if min(len(before.tasks), len(after.tasks)) < MINIMUM:
        found = f"{counted(len(before.tasks), 'task')} before and {len(after.tasks)} after the faults"
        return f"; {found}, at least {MINIMUM} of each can be compared"
    if not before.rate:
        return "; no handler returned before the faults, so the rates cannot be compared"
    return None


def _is_kept(before: _Period, after: _Period, *, excused: int) -> bool:
    prompt = 1 - (len(after.late) - excused) / len(after.tasks)
    return prompt >= KEPT * (before.prompt or 0.0) or (after.rate or 0.0) >= KEPT * (before.rate or 0.0)


def _excuse(history: History, late: _Task) -> str | None:
    until = _end(history) if late.started is None else late.started
    return bound_lost_to_machine(history, late.due, until, bound=seconds(late.deadline - late.due))


def _end(history: History) -> int:
    """The last operation of the run itself: its evidence sources are read later."""
    return next((op.time for op in reversed(history.operations) if op.process not in SERVERS), 0)


def _examples(late: Sequence[_Task]) -> Iterator[Counterexample]:
    for one in late:
        took = (
            "never started"
            if one.started is None
            else f"started after {seconds(one.started - one.due):.3f} s"
        )
        why = f"due after the last heal, {took} ({seconds(one.deadline - one.due):.3f} s are allowed)"
        yield Counterexample(kind="late", task=one.number, why=why)


def _waits(period: _Period) -> list[float]:
    return [max(0.0, seconds(one.started - one.due)) for one in period.tasks if one.started is not None]


def _figures(phases: Mapping[str, _Period]) -> dict[str, float | int | None]:
    figures: dict[str, float | int | None] = {}
    for name, period in phases.items():
        figures |= {f"rate_{name}": period.rate, f"started_in_time_{name}": period.prompt}
        figures |= {f"pick_up_{name}_{which}": value for which, value in quantiles(_waits(period)).items()}
    return figures


def _summary(phases: Mapping[str, _Period]) -> str:
    rates = "/".join("-" if one.rate is None else f"{one.rate:.1f}" for one in phases.values())
    shares = "/".join("-" if one.prompt is None else f"{one.prompt:.0%}" for one in phases.values())
    return f"before/during/after faults {rates} tasks a second, {shares} started in time"
