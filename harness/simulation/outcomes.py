"""Did every task end as its plan allows?

The plan of a simulation states what each handler does, so this checker can claim more than those of real runs: no retry
is charged without a failure, no success is recorded as an error, and no task is canceled without a request.
"""

from __future__ import annotations

from collections import Counter

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History, OperationType
from harness.history.fields import task_of
from harness.history.figures import counted
from harness.simulation.plan import FaultKind


@keeps_settings
def outcomes(*, tasks: int, retries: int, crashes_end: bool = False) -> Checker:
    """The status of each record is one that a plan of so many tasks allows.

    `error` only if the handler failed more than `retries` times or a service ended the task, and with `crashes_end`
    after too many crashes; `canceled` only if the plan cancels the task. Every other task ends as `complete`.
    """

    def check(history: History) -> CheckResult:
        failed = Counter(map(task_of, history.where("run", OperationType.FAIL)))
        canceled = {task_of(op) for op in history.where(FaultKind.CANCEL.value)}
        ended = {task_of(op) for op in history.where(FaultKind.FAIL.value)}
        crashed = {task_of(op) for op in history.where("record") if crashes_end and op.value.get("crashed")}
        wrong = []
        for record in history.where("record"):
            task, status = task_of(record), record.value["status"]
            if status == "error" and failed[task] <= retries and task not in ended | crashed:
                wrong.append((task, f"error after {failed[task]} failures, with {retries} retries allowed"))
            if status == "canceled" and task not in canceled:
                wrong.append((task, "canceled, although the plan does not cancel it"))
        return CheckResult(
            verdict=Verdict.INVALID if wrong else Verdict.VALID,
            summary=f"task {wrong[0][0]}: {wrong[0][1]}" if wrong else f"{counted(tasks, 'task')} as planned",
            figures={"wrong": len(wrong)},
            counterexamples=tuple({"kind": "outcome", "task": task, "why": why} for task, why in wrong),
        )

    return check


@keeps_settings
def unknown_as_valid(checker: Checker) -> Checker:
    """The checker, with VALID instead of UNKNOWN: not every kill interrupts a run."""

    def check(history: History) -> CheckResult:
        result = checker(history)
        if result.verdict is Verdict.UNKNOWN:
            return CheckResult(verdict=Verdict.VALID, summary=result.summary, figures=result.figures)
        return result

    return check
