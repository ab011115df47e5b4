"""Did handlers return more often than the kills explain?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History, OperationType
from harness.history.faults import injected_faults, killed_workers
from harness.history.fields import task_of
from harness.history.runs import begun, returned

Budget = int | Callable[[History], int]


def budget_per_kill(concurrency: int) -> Callable[[History], int]:
    """A budget for the duplicates that kills explain: at most `concurrency` for each killed worker.

    A killed worker may have finished up to `concurrency` handlers whose completion was not recorded yet, and an
    at-least-once system must run those again. So a duplicate is excused if the task returned in a killed worker. No
    kill excuses a task that returned twice in workers that survived.
    """

    def budget(history: History) -> int:
        killed = killed_workers(history)
        times = returned(history)
        finished = {
            (op.process, task_of(op)) for op in history.where("run", OperationType.OK) if op.process in killed
        }
        explained = Counter(process for process, task in finished if times[task] > 1)
        return sum(min(concurrency, number) for number in explained.values())

    return budget


def budget_per_fault(slots: int) -> Callable[[History], int]:
    """A budget of `slots` duplicates for each injected fault: so many running tasks may run again after each."""
    return lambda history: slots * len(injected_faults(history))


def duplicates(budget: Budget) -> Checker:
    """At most `budget` executions are surplus: a handler returned again for a task that had returned before.

    The surplus is the number of `run` outcomes `ok` minus the number of tasks that have one. `redelivered` counts tasks
    that began more than once, which no budget limits: recovery is a redelivery without a second completion. UNKNOWN if
    no handler finished. Does not claim that effects outside were applied once.
    """

    def check(history: History) -> CheckResult:
        finished = returned(history)
        if not finished:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no handler finished")
        allowed = budget if isinstance(budget, int) else budget(history)
        twice = sorted(task for task, times in finished.items() if times > 1)
        surplus = finished.total() - len(finished)
        examples = [
            Counterexample(kind="duplicated", task=task, why=f"its handler finished {finished[task]} times")
            for task in twice
        ]
        return CheckResult(
            verdict=Verdict.VALID if surplus <= allowed else Verdict.INVALID,
            summary=f"{surplus} surplus executions of {len(twice)} tasks, {allowed} excused",
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
