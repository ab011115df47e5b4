"""Did handlers return more often than the kills explain?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain, pairwise

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, InjectionKind, OperationType
from harness.history.faults import FaultWindow, injected_faults, killed_workers, kills
from harness.history.figures import NANOSECONDS, counted, seconds
from harness.history.lost_leases import lease_seconds
from harness.history.promises import DeliveryMode, Loss, losses, promises
from harness.history.runs import Run, begun, returned, runs
from harness.history.starving import starved_lease
from harness.history.submissions import submissions

Budget = int | Callable[[History], int]


@keeps_settings
def budget_per_kill(concurrency: int) -> Callable[[History], int]:
    """A budget for the duplicates that kills explain: at most `concurrency` for each killed worker.

    A killed worker may have finished up to `concurrency` handlers whose completion was not recorded yet, and an
    at-least-once system must run those again. So a return is excused if an earlier one of its task was in a worker
    that was killed before the later run began. Each kill explains one return of a task. No kill excuses a task that
    returned twice in workers that survived, nor a run that had begun before the kill.
    """

    def budget(history: History) -> int:
        killed = {process: kills(history)[process].start for process in killed_workers(history)}
        explained: Counter[str] = Counter()
        for found in _returned_again(history):
            causes: list[str] = []
            for run in found:
                cause = next((one for one in causes if killed[one] <= run.begun.time), None)
                if cause is not None:
                    causes.remove(cause)
                    explained[cause] += 1
                if run.process in killed:
                    causes.append(run.process)
        return sum(min(concurrency, number) for number in explained.values())

    return budget


@keeps_settings
def budget_per_fault(slots: int) -> Callable[[History], int]:
    """A budget of `slots` duplicates for each injected fault: so many running tasks may run again after each.

    A fault explains a return only if it was active between the submission of the task (or at most one lease before it)
    and the beginning of the later run.
    """

    def budget(history: History) -> int:
        submitted: dict[int, int] = {}
        for one in submissions(history):
            submitted.setdefault(one.task, one.request.time)
        margin = round(lease_seconds(history) * NANOSECONDS)
        faults = sorted(injected_faults(history), key=lambda fault: fault.until)
        left = [slots] * len(faults)
        later = sorted((run for found in _returned_again(history) for run in found[1:]), key=_beginning)
        for run in later:
            since = submitted.get(run.task, 0) - margin
            for index, fault in enumerate(faults):
                if left[index] and fault.start <= run.begun.time and fault.until >= since:
                    left[index] -= 1
                    break
        return slots * len(faults) - sum(left)

    return budget


def _returned_again(history: History) -> Iterator[Sequence[Run]]:
    """The runs that returned, in order of their beginning, of each task with more than one."""
    by_task: dict[int, list[Run]] = {}
    for run in runs(history):
        if run.finished:
            by_task.setdefault(run.task, []).append(run)
    return (found for found in by_task.values() if len(found) > 1)


def _beginning(run: Run) -> int:
    return run.begun.time


@keeps_settings
def duplicates(budget: Budget) -> Checker:
    """At most `budget` executions are surplus: a handler returned again for a task that had returned before.

    A system that promises at-most-once delivery has no budget: no handler begins again for an activity that one
    began, and did not give back when it was stopped. One that also documents a take-over (`takes_over_after`) may
    give what a silent worker has not begun to another, and the first one may begin it too after it resumes. Where
    replies were lost, the budget holds for it too, because a client may have sent a task twice.

    The surplus is the number of `run` outcomes `ok` minus the number of tasks that have one. `redelivered` counts tasks
    that began more than once, which no budget limits: recovery is a redelivery without a second completion. UNKNOWN if
    no handler finished, or if the surplus exceeds the budget only by tasks whose worker this machine starved for so
    long that its lease may have expired (`lost_to_machine`). Does not claim that effects outside were applied once.
    """

    def check(history: History) -> CheckResult:
        finished = returned(history)
        made = promises(history)
        once = made is not None and made.delivery is DeliveryMode.AT_MOST_ONCE
        # A client that sends a request again whose reply was lost makes two messages, each delivered once.
        once = once and Loss.REPLY_LOST not in losses(history)
        times_by_task, verb = (_begun_again(history), "began") if once else (finished, "finished")
        twice = sorted(task for task, times in times_by_task.items() if times > 1)
        if not finished and not (once and twice):
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no handler finished")
        allowed = 0 if once else budget if isinstance(budget, int) else budget(history)
        surplus = times_by_task.total() - len(times_by_task)
        excuses = _excuses(history, twice) if surplus > allowed and not once else {}
        starved = sum(min(times_by_task[task] - 1, len(found)) for task, found in excuses.items())
        examples = [
            Counterexample(
                kind="duplicated", task=task, why=f"its handler {verb} {times_by_task[task]} times"
            )
            for task in twice
        ]
        summary = (
            f"{counted(surplus, 'surplus execution')} of {counted(len(twice), 'task')}, {allowed} excused"
        )
        if surplus > allowed >= surplus - starved:
            summary += f"; {starved} of them are not judged: {next(chain.from_iterable(excuses.values()))}"
        return CheckResult(
            verdict=Verdict.of(wrong=surplus - starved > allowed, unsure=surplus > allowed),
            summary=summary,
            figures={
                "executions": finished.total(),
                "duplicated": len(twice),
                "surplus": surplus,
                "budget": allowed,
                "redelivered": sum(1 for times in begun(history).values() if times > 1),
            },
            counterexamples=explain(history, examples),
        )

    return check


def _begun_again(history: History) -> Counter[int]:
    """By task, how often a handler began for its activity and did not give it back, the most if it has several.

    A run of a worker after its pause does not count if a run of its activity began in another worker meanwhile.
    """
    kept = [run for run in runs(history) if run.ended is None or run.ended.type is not OperationType.INFO]
    silences = _silences(history)
    found = Counter((run.task, run.activity) for run in kept if not _taken_over(run, kept, silences))
    again: Counter[int] = Counter()
    for (task, _), times in found.items():
        again[task] = max(again[task], times)
    return again


def _silences(history: History) -> Sequence[FaultWindow]:
    """The pauses that lasted for the time after which the system promises to take over."""
    made = promises(history)
    after = None if made is None else made.takes_over_after
    if after is None:
        return ()
    pauses = (one for one in injected_faults(history) if one.kind is InjectionKind.PAUSE and one.pids)
    return [one for one in pauses if one.end is not None and seconds(one.end - one.start) >= after]


def _taken_over(run: Run, others: Sequence[Run], silences: Sequence[FaultWindow]) -> bool:
    """Whether another worker began the activity of `run` while the worker of `run`, which began later, was silent."""
    mine = [one for one in silences if run.process in one.workers and run.begun.time >= one.until]
    return any(
        other.activity == run.activity
        and other.task == run.task
        and any(one.start < other.begun.time < one.until and other.process not in one.workers for one in mine)
        for other in (others if mine else ())
    )


def _excuses(history: History, tasks: Collection[int]) -> Mapping[int, Sequence[str]]:
    """By task, why so many of its later runs are not judged: this machine may have cost the run before its lease."""
    by_task: dict[int, list[Run]] = {task: [] for task in tasks}
    for run in runs(history):
        if run.task in by_task:
            by_task[run.task].append(run)
    return {
        task: [
            excuse
            for one, after in pairwise(found)
            if (excuse := starved_lease(history, one.begun.time, after.begun.time)) is not None
        ]
        for task, found in by_task.items()
    }
