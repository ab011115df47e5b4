"""Is a task that was submitted again with its idempotency key one task?"""

from __future__ import annotations

from collections.abc import Mapping, Set

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, OperationType
from harness.history.fields import activity_of, task_of
from harness.history.figures import counted
from harness.history.runs import runs
from harness.history.submissions import submissions


@keeps_settings
def keys() -> Checker:
    """All submissions with one idempotency key are one task, whatever became of their replies.

    Claims, for each task whose submissions have a `key`: the acknowledged ones name the same activity, and so does all
    that the workers ran and the store recorded of the task. `resent` counts the submissions after the first, and
    `unanswered` those of them that followed one with an unknown outcome. UNKNOWN if no task was submitted again.
    """

    def check(history: History) -> CheckResult:
        resent, unanswered = _resent(history)
        if not resent:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no task was submitted again with its key")
        known = _activities(history, resent.keys())
        examples = [
            Counterexample(kind="doubled", task=task, why=f"one key, and {counted(len(found), 'activity')}")
            for task, found in sorted(known.items())
            if len(found) > 1
        ]
        times = sum(resent.values())
        tasks = counted(len(resent), "task")
        summary = f"{tasks} submitted again with their keys, {unanswered} after an unknown outcome: each is one task"
        if examples:
            summary = (
                f"{len(examples)} of {tasks} with one key became several; the first: task {examples[0].task}"
            )
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={
                "keys": len(resent),
                "resent": times,
                "unanswered": unanswered,
                "doubled": len(examples),
            },
            counterexamples=explain(history, examples),
        )

    return check


def recorded_keys(history: History) -> dict[str, Checker]:
    """The checker, for a history in which a task was submitted again with its key."""
    return {"keys": keys()} if _resent(history)[0] else {}


def _resent(history: History) -> tuple[Mapping[int, int], int]:
    """By task with a key, its submissions after the first; and how many followed one without an answer."""
    return history.derive(_resent_with_key)


def _resent_with_key(history: History) -> tuple[Mapping[int, int], int]:
    again: dict[int, int] = {}
    last: dict[int, bool] = {}
    unanswered = 0
    for one in submissions(history):
        if one.request.value.get("key") is None:
            continue
        if one.task in last:
            again[one.task] = again.get(one.task, 0) + 1
            unanswered += not last[one.task]
        last[one.task] = one.answer is not None and one.answer.type is not OperationType.INFO
    return again, unanswered


def _activities(history: History, tasks: Set[int]) -> Mapping[int, Set[str]]:
    """By task, every id that client, workers and store have for it."""
    found: dict[int, set[str]] = {task: set() for task in tasks}
    named = [*history.where("enqueue", OperationType.OK), *history.where("record")]
    for operation in (*named, *(run.begun for run in runs(history))):
        activity = activity_of(operation)
        if activity is not None and (known := found.get(task_of(operation))) is not None:
            known.add(activity)
    return found
