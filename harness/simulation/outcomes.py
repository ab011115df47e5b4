"""Did every task end as its plan says?

A simulation knows what each handler was going to do, so it can ask for more than any run against real servers: no retry
burnt, no success turned into an error, no cancel out of nowhere.
"""

from __future__ import annotations

from collections import Counter

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History, OperationType
from harness.simulation.plan import FaultKind, Plan


def outcomes(plan: Plan, *, retries: int) -> Checker:
    """Each record's status is one that its plan allows. `error` only where the handler failed more than `retries`
    times, `canceled` only where somebody asked for it; anything else ends as `complete`.
    """

    def check(history: History) -> CheckResult:
        failed = Counter(op.value["task"] for op in history.where("run", OperationType.FAIL))
        canceled = {op.value["task"] for op in history.where(FaultKind.CANCEL.value)}
        wrong = []
        for record in history.where("record"):
            task, status = record.value["task"], record.value["status"]
            if status == "error" and failed[task] <= retries:
                wrong.append((task, f"error after {failed[task]} failures, with {retries} retries allowed"))
            if status == "canceled" and task not in canceled:
                wrong.append((task, "canceled, although nobody asked for it"))
        return CheckResult(
            verdict=Verdict.INVALID if wrong else Verdict.VALID,
            summary=f"task {wrong[0][0]}: {wrong[0][1]}" if wrong else f"{len(plan.tasks)} tasks as planned",
            figures={"wrong": len(wrong)},
            counterexamples=tuple({"kind": "outcome", "task": task, "why": why} for task, why in wrong),
        )

    return check
