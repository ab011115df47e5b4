"""Does a handler end soon after another run of its task began?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.overdue import OverdueRun, lost_to_machine
from harness.checkers.settings import keeps_settings
from harness.history import History, InjectionKind, Operation, OperationType
from harness.history.faults import injected_faults, kills, leaves_alive, undisturbed_since
from harness.history.figures import NANOSECONDS, counted
from harness.history.promises import promises
from harness.history.runs import Run, runs


class _Orphan(NamedTuple):
    """A run that went on after `later` began."""

    overdue: OverdueRun
    later: Run


@keeps_settings
def orphans(within: float | None = None) -> Checker:
    """A run whose fencing token is lost ends within `within` seconds after the next run of its task began.

    Without `within` the bound is the promise `orphans_end_within`. A run has lost its token when a run of the same
    activity with a higher one begins. The time counts from there, or from the end of a fault that struck the worker of
    the lost run before it had passed: it could not notice anything. INVALID if the handler returned, failed or was
    canceled later than that. UNKNOWN without a bound, and if only runs are late from which this machine took the time.
    A run without an outcome is not judged, nor one whose queue lost its last writes after the later run began. If the
    later run was stopped, the loss may have been up to `within` seconds before: the queue may have forgotten its claim,
    and given the lease back. Does not claim that nothing was written meanwhile: `fencing` does.
    """

    def check(history: History) -> CheckResult:
        bound = _promised(history) if within is None else within
        if bound is None:
            return CheckResult(
                verdict=Verdict.UNKNOWN, summary="the time in which a lost run ends is not known"
            )
        found = list(_orphans(history, bound))
        late = [one for one in found if one.overdue.seconds > bound]
        excuses = lost_to_machine(history, (one.overdue for one in late), bound=bound)
        longest = max((one.overdue.seconds for one in found), default=0.0)
        lost = counted(len(found), "run")
        summary = f"{lost} lost to a later one and ended at most {longest:.3f} s after it began"
        if late:
            first = late[0]
            summary = f"{len(late)} of {lost} went on for more than {bound:g} s after a later one began; {_why(first)}"
        if excuses:
            summary += f"; {len(excuses)} of them are not judged: {excuses[0]}"
        return CheckResult(
            verdict=Verdict.of(wrong=len(late) > len(excuses), unsure=bool(late)),
            summary=summary,
            figures={"orphans": len(found), "late": len(late), "longest": longest, "bound": bound},
            counterexamples=explain(
                history,
                [Counterexample(kind="orphaned", task=one.overdue.run.task, why=_why(one)) for one in late],
            ),
        )

    return check


def recorded_orphans(history: History) -> dict[str, Checker]:
    """The checker, for a history whose target promises when a lost run ends."""
    return {} if _promised(history) is None else {"orphans": orphans()}


def _promised(history: History) -> float | None:
    made = promises(history)
    return None if made is None else made.orphans_end_within


def _orphans(history: History, bound: float) -> Iterator[_Orphan]:
    """Each run with an outcome after the beginning of a run of its activity with a higher token."""
    by_subject: dict[str, list[Run]] = {}
    for run in runs(history):
        by_subject.setdefault(run.subject, []).append(run)
    faults = history.derive(_faults_of_workers)
    for found in by_subject.values():
        for run in found if len(found) > 1 else ():
            later = next((one for one in found if _follows(one, run)), None)
            if later is None or run.ended is None or run.process in kills(history):
                continue
            if run.ended.time > later.begun.time and not _may_be_given_back(history, run.ended, later, bound):
                spans = faults.get(run.process, ())
                since = undisturbed_since(spans, later.begun.time, within=bound)
                yield _Orphan(OverdueRun(run, since, run.ended.time), later)


def _may_be_given_back(history: History, ended: Operation, later: Run, bound: float) -> bool:
    """Whether a queue that lost its last writes may have forgotten the later run, and given the lease back.

    It may have forgotten a claim whose run began during the fault or afterwards: such a run has no lease, so it is
    stopped.
    """
    losses = [
        fault
        for fault in injected_faults(history)
        if fault.kind is InjectionKind.DATA_LOSS and fault.start <= ended.time
    ]
    if later.ended is None or later.ended.type is OperationType.INFO:
        since = later.begun.time - int(bound * NANOSECONDS)
        return any(since <= (fault.end or fault.start) for fault in losses)
    return any(later.begun.time <= fault.start for fault in losses)


def _follows(later: Run, run: Run) -> bool:
    return later.fence is not None and run.fence is not None and later.fence > run.fence


def _faults_of_workers(history: History) -> Mapping[str, Sequence[tuple[int, int]]]:
    """By worker, the spans of time (nanoseconds) in which a fault struck it that left it alive."""
    found: dict[str, list[tuple[int, int]]] = {}
    for fault in injected_faults(history):
        for worker in fault.workers if leaves_alive(fault) else ():
            found.setdefault(worker, []).append((fault.start, fault.until))
    return found


def _why(one: _Orphan) -> str:
    run = one.overdue.run
    return (
        f"task {run.task} went on in {run.process} under fence {run.fence} for {one.overdue.seconds:.3f} s after "
        f"{one.later.process} began it under fence {one.later.fence}"
    )
