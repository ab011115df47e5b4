"""Does an accepted cancel come true, and in time?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.overdue import OverdueRun, lost_to_machine
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation, OperationType
from harness.history.faults import injected_faults, kills, leaves_alive, undisturbed_since
from harness.history.fields import subject_of, task_of
from harness.history.figures import counted
from harness.history.names import CANCEL
from harness.history.promises import promises
from harness.history.records import records
from harness.history.runs import Run, runs
from harness.history.statuses import CANCELED, TERMINAL


@keeps_settings
def cancels(within: float | None = None) -> Checker:
    """After an accepted cancel no run of its task begins or goes on for longer than `within` seconds.

    Without `within` the bound is the promise `cancels_within`. A cancel is accepted if its request was answered with
    `ok`. Claims for its activity: a run ends within that time after the answer, or after the end of a fault that was
    active before it had passed; no run begins later than that; and the record says canceled at the end, unless a run
    returned or failed, or a service ended the task (under a fence of its own). UNKNOWN if no cancel was accepted,
    without a bound, and if only runs are late from which this machine took the time. Does not claim that a handler
    which returns after its cancel is refused.
    """

    def check(history: History) -> CheckResult:
        bound = _promised(history) if within is None else within
        accepted = _accepted(history)
        if not accepted:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no cancel was accepted")
        if bound is None:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the time of a cancel is not known")
        ran = list(_later(history, accepted, bound))
        late = [one for one in ran if one.seconds > bound]
        excuses = lost_to_machine(history, late, bound=bound)
        ignored = list(_ignored(history, accepted))
        examples = [Counterexample(kind="late", task=one.run.task, why=_why(one)) for one in late]
        examples += [Counterexample(kind="ignored", task=task, why=why) for task, why in ignored]
        longest = max((one.seconds for one in ran), default=0.0)
        summary = (
            f"{counted(len(accepted), 'cancel')} accepted, and no run went on for more than {longest:.3f} s"
        )
        if examples:
            summary = (
                f"{len(examples)} of {counted(len(accepted), 'accepted cancel')} did not come true in time"
            )
            summary += f"; the first: task {examples[0].task} {examples[0].why}"
        if excuses:
            summary += f"; {len(excuses)} of them are not judged: {excuses[0]}"
        return CheckResult(
            verdict=Verdict.of(wrong=len(examples) > len(excuses), unsure=bool(examples)),
            summary=summary,
            figures={
                "accepted": len(accepted),
                "running": len(ran),
                "late": len(late),
                "ignored": len(ignored),
                "longest": longest,
                "bound": bound,
            },
            counterexamples=explain(history, examples),
        )

    return check


def recorded_cancels(history: History) -> dict[str, Checker]:
    """The checker, for a history in which a client canceled a task."""
    return {"cancels": cancels()} if _accepted(history) else {}


def _promised(history: History) -> float | None:
    made = promises(history)
    return None if made is None else made.cancels_within


def _accepted(history: History) -> Mapping[str, Operation]:
    """By activity, the answer to its first accepted cancel."""
    found: dict[str, Operation] = {}
    for operation in history.where(CANCEL, OperationType.OK):
        found.setdefault(subject_of(operation), operation)
    return found


def _later(history: History, accepted: Mapping[str, Operation], bound: float) -> Iterator[OverdueRun]:
    """The runs that began or ended after the cancel of their activity.

    A fault that kills or stops other workers delays no cancel.
    """
    faults = injected_faults(history)
    for run in runs(history):
        answer = accepted.get(run.subject)
        if answer is None:
            continue
        until = _until(history, run)
        if until > answer.time:
            spans = [
                (one.start, one.until) for one in faults if leaves_alive(one) or run.process in one.workers
            ]
            yield OverdueRun(run, undisturbed_since(spans, answer.time, within=bound), until)


def _until(history: History, run: Run) -> int:
    """When the run certainly still went on."""
    if run.ended is not None:
        return run.ended.time
    killed = kills(history).get(run.process)
    return run.begun.time if killed is None else max(run.begun.time, killed.start)


def _ignored(history: History, accepted: Mapping[str, Operation]) -> Iterator[tuple[int, str]]:
    """The tasks whose record ends otherwise although none of their runs did."""
    decided = {run.subject for run in runs(history) if run.ended and run.ended.type is not OperationType.INFO}
    fences: dict[str, set[int | None]] = {}
    for run in runs(history):
        fences.setdefault(run.subject, set()).add(run.fence)
    for subject, record in records(history).items():
        status, fence = record.value.get("status"), record.value.get("fence")
        if fence not in fences.get(subject, {fence}):
            continue  # a service ended the task
        if subject in accepted and subject not in decided and status in TERMINAL and status != CANCELED:
            yield task_of(record), f"is recorded as {status}, and its cancel was accepted"


def _why(one: OverdueRun) -> str:
    what = "began" if one.run.begun.time > one.since else "went on"
    return f"{what} in {one.run.process} until {one.seconds:.3f} s after its cancel was accepted"
