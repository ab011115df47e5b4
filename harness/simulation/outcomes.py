"""Did every task end as its plan allows?

The plan of a simulation states what each handler does, so this checker can claim more than those of real runs: no retry
is charged without a failure, no success is recorded as an error, and no task is canceled without a request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation, OperationType
from harness.history.fields import activity_of, task_of
from harness.history.figures import NANOSECONDS, counted
from harness.history.names import CANCEL
from harness.simulation.handlers import STRICT_RETRIES, name_of, task_name
from harness.simulation.plan import FaultKind, HandlerEnd, HandlerForm, Plan, PlannedTask
from harness.simulation.runtime import EPOCH


def planned_outcomes(plan: Plan, *, retries: int, crashes_end: bool = False) -> Checker:
    """The checker `outcomes` with what it needs of a plan."""
    return outcomes(
        failures=[(task.number, failures_of(task, retries)) for task in plan.tasks],
        endless=[task.number for task in plan.tasks if task.end in ENDLESS],
        unfit=[task.number for task in plan.tasks if task.end is HandlerEnd.UNFIT],
        crashes_end=crashes_end,
    )


@keeps_settings
def outcomes(
    *,
    failures: Sequence[tuple[int, int]],
    endless: Sequence[int] = (),
    unfit: Sequence[int] = (),
    crashes_end: bool = False,
) -> Checker:
    """The status of each record is one that the plan of these tasks allows.

    `failures` has each task with how often its handler has to fail until the record says `error`; a service may end the
    task as well, and with `crashes_end` too many crashes do. `canceled` only if the plan cancels the task. Every other
    task ends as `complete`, but an `endless` one, whose handler never returns a result. An `unfit` one, whose context
    does not fit, never runs. An `error` that no service caused is noted as a dead letter, which outlives the contents
    of the queue. After an accepted cancel the record neither starts a task nor gives it back.
    """
    needed, tasks = dict(failures), len(failures)

    def check(history: History) -> CheckResult:
        failed = Counter(map(task_of, history.where("run", OperationType.FAIL)))
        canceled = {task_of(op) for op in history.where(FaultKind.CANCEL.value)}
        ended = {task_of(op) for op in history.where(FaultKind.FAIL.value)}
        crashed = {task_of(op) for op in history.where("record") if crashes_end and op.value.get("crashed")}
        wrong = []
        for record in history.where("record"):
            task, status = task_of(record), record.value["status"]
            if status == "error" and failed[task] < needed[task] and task not in ended | crashed:
                wrong.append((task, f"error after {failed[task]} failures, of which it takes {needed[task]}"))
            if status == "complete" and task in endless:
                wrong.append((task, "complete, and its handler never returns a result"))
            if status == "error" and not record.value.get("letter") and task not in ended:
                wrong.append((task, "error, and it is not noted as a dead letter"))
            if status == "canceled" and task not in canceled:
                wrong.append((task, "canceled, although the plan does not cancel it"))
        wrong += [
            (task_of(run), "runs, and its context does not fit")
            for run in history.where("run", OperationType.INVOKE)
            if task_of(run) in unfit
        ]
        wrong += [
            (task_of(row), "runs or waits again after its cancel was accepted") for row in _again(history)
        ]
        return CheckResult(
            verdict=Verdict.INVALID if wrong else Verdict.VALID,
            summary=f"task {wrong[0][0]}: {wrong[0][1]}" if wrong else f"{counted(tasks, 'task')} as planned",
            figures={"wrong": len(wrong)},
            counterexamples=tuple({"kind": "outcome", "task": task, "why": why} for task, why in wrong),
        )

    return check


ENDLESS = frozenset(HandlerEnd) - {HandlerEnd.RETURNS, HandlerEnd.CLOSES}
"""The ends of a handler after which its task is not complete."""


def failures_of(task: PlannedTask, retries: int) -> int:
    """How often the handler of a task has to fail until its record says so."""
    most = min(retries, STRICT_RETRIES) if name_of(task) == task_name(HandlerForm.STRICT) else retries
    match task.end:
        case HandlerEnd.UNFIT:
            return 0
        case HandlerEnd.GIVES_UP | HandlerEnd.UNWRITABLE | HandlerEnd.REFUSED:
            return min(task.failures, most) + 1
        case HandlerEnd.RAISES if name_of(task) == task_name(HandlerForm.STRICT):
            return min(task.failures, most) + 1
        case _:
            return most + 1


def _again(history: History) -> Iterator[Operation]:
    """The rows with which a task began, or was given back, after its cancel was accepted."""
    accepted = {
        activity_of(op): op.time / NANOSECONDS + EPOCH for op in history.where(CANCEL, OperationType.OK)
    }
    for row in history.where("transition"):
        since, value = accepted.get(activity_of(row)), row.value
        begins = value["status"] == "running" and not value["n"]
        back = value["status"] == "queued" and value["fence"]  # a note of a service is under fence 0
        # The time of a row is in whole milliseconds.
        if since is not None and (begins or back) and value["at"] > since + 0.001:
            yield row


@keeps_settings
def unknown_as_valid(checker: Checker) -> Checker:
    """The checker, with VALID instead of UNKNOWN: not every kill interrupts a run."""

    def check(history: History) -> CheckResult:
        result = checker(history)
        if result.verdict is Verdict.UNKNOWN:
            return CheckResult(verdict=Verdict.VALID, summary=result.summary, figures=result.figures)
        return result

    return check
