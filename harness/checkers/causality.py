"""Did every run begin after its task was submitted? All processes of one host read one clock, so the order is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation
from harness.history.fields import task_of
from harness.history.figures import counted, seconds
from harness.history.submissions import submissions


@keeps_settings
def causality() -> Checker:
    """No worker records anything about a task before the client begins the first submission of that task.

    An operation that precedes its cause shows that the history is wrong, or that the system ran another task under this
    number. Tasks without any submission are not judged: `delivery` reports them. UNKNOWN if no submitted task began.
    """

    def check(history: History) -> CheckResult:
        submitted, worked = _first_submissions(history), _first_operations(history)
        if not (judged := submitted.keys() & worked.keys()):
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no submitted task began")
        examples = [
            _example(task, worked[task], submitted[task])
            for task in sorted(judged)
            if worked[task].time < submitted[task]
        ]
        summary = f"{counted(len(judged), 'task')} began after submission"
        if examples:
            summary = (
                f"{counted(len(examples), 'task')} began before submission; the first: {examples[0].why}"
            )
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={"tasks": len(judged), "before_submission": len(examples)},
            counterexamples=explain(history, examples),
        )

    return check


def _first_submissions(history: History) -> Mapping[int, int]:
    """By task, when its first submission began (nanoseconds)."""
    found: dict[int, int] = {}
    for one in submissions(history):
        found.setdefault(one.task, one.request.time)
    return found


def _first_operations(history: History) -> Mapping[int, Operation]:
    """By task, the first operation of a worker."""
    found: dict[int, Operation] = {}
    for op in _of_workers(history):
        task = task_of(op)
        if task not in found or op.time < found[task].time:
            found[task] = op
    return found


def _of_workers(history: History) -> Iterator[Operation]:
    return chain.from_iterable(map(history.where, ("run", "effect", "report")))


def _example(task: int, first: Operation, submitted: int) -> Counterexample:
    early = seconds(submitted - first.time)
    why = f"task {task} has a {first.f} in {first.process} {early:.6f} s before its first submission began"
    return Counterexample(kind="before its submission", task=task, why=why, more={"seconds": early})
