"""Does a task whose workers die of it become a dead letter, and it alone?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.delivery import account, lacks_records
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import injected_faults
from harness.history.fields import task_of
from harness.history.figures import counted
from harness.history.promises import promises
from harness.history.runs import begun

MOST_CRASHES = 5
"""The bound for a history without a promise."""

UNCHARGED = 3
"""The most deliveries that need not be charged to the task: its neighbours may have been the cause."""

_TASK = "task"


@keeps_settings
def poison() -> Checker:
    """Each task that faults struck by its number (`task` of an injection) becomes a dead letter, and no other task.

    Claims: such a task begins at most as often as promised (`most_crashes`), and `UNCHARGED` times more; its record
    says error and no handler of it returned; no other task has a record that says error or canceled. UNKNOWN if no
    fault struck a task, if the store has no `record`, or if one that was struck too few times is no dead letter. Does
    not claim that the other tasks ended: `delivery` does, with `allow_errors`.
    """

    def check(history: History) -> CheckResult:
        struck: dict[int, int] = {}
        for fault in injected_faults(history):
            if _TASK in fault.injection.value:
                task = task_of(fault.injection)
                struck[task] = struck.get(task, 0) + 1
        if not struck:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no task was struck again and again")
        if lacks_records(history):
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the store has no record of any task")
        made = promises(history)
        bound = MOST_CRASHES if made is None or made.most_crashes is None else made.most_crashes
        most = bound + UNCHARGED
        found = account(history)
        buried = struck.keys() & found.errored - found.executed
        alive = {task: struck[task] for task in sorted(struck.keys() - buried)}
        too_few = [task for task, times in alive.items() if times < most]
        spared = {task: times for task, times in alive.items() if times >= most}
        examples = [*_spared(spared, found.executed)]
        examples += [
            Counterexample(
                kind="neighbour", task=task, why="its record says error or canceled beside the poison"
            )
            for task in sorted((found.errored | found.canceled) - struck.keys())
        ]
        times = begun(history)
        examples += [
            Counterexample(
                kind="delivered", task=task, why=f"it began {times[task]} times, {most} are allowed"
            )
            for task in sorted(struck)
            if times[task] > most
        ]
        neighbours = sum(example.kind == "neighbour" for example in examples)
        summary = (
            f"{counted(len(buried), 'task')} of {len(struck)} dead-lettered after {sum(struck.values())} crashes, "
            f"{counted(neighbours, 'neighbour')} ended badly"
        )
        if too_few:
            summary += f"; task {too_few[0]} was struck {struck[too_few[0]]} times, which may be too few"
        return CheckResult(
            verdict=Verdict.of(wrong=bool(examples), unsure=bool(too_few)),
            summary=summary,
            figures={
                "poisons": len(struck),
                "buried": len(buried),
                "crashes": sum(struck.values()),
                "deliveries": max(times[task] for task in struck),
                "neighbours": neighbours,
            },
            counterexamples=explain(history, examples),
        )

    return check


def _spared(spared: Mapping[int, int], returned: Set[int]) -> Iterator[Counterexample]:
    """Tasks that are no dead letter, with how often their workers died of them."""
    for task, times in spared.items():
        end = "a handler of it returned" if task in returned else "its record does not say error"
        yield Counterexample(kind="spared", task=task, why=f"its workers died of it {times} times, and {end}")
