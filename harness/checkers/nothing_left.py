"""Is the queue empty after the drain, without a task outside of its states?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.delivery import WAITING, account
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation
from harness.history.ending import open_end
from harness.history.fields import optional_number, whole
from harness.history.promises import delivers_again

NAMED = 20  # orphans in a counterexample


@keeps_settings
def nothing_left() -> Checker:
    """At the end, the queue reports no task that waits or is leased, and nothing outside of its states.

    The last `queue` operation counts. If it reports how many tasks the queue knows, its states must hold the same
    number (`unaccounted` is 0): a task in none of them would never be claimed. If it names `orphans` (what it holds for
    no task and no worker), there are none. Dead letters are reported and not judged here: `delivery` judges their
    tasks. A system that may deliver a task again may hold second deliveries, if all tasks ended. UNKNOWN without a
    `queue` operation, and for a queue that still holds something at the end of a run that ended too early (`open_end`).
    Does not claim that tasks which left the queue were completed.
    """

    def check(history: History) -> CheckResult:
        reports = list(history.where("queue"))
        if not reports:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the history has no report of the queue")
        last = reports[-1]
        held = {name: whole(last, name) for name in WAITING if name != "parked" or name in last.value}
        dead = last.value.get("dead")
        dead = len(dead) if isinstance(dead, list | tuple) else dead
        unaccounted = _unaccounted(last, sum(held.values()) + (dead or 0))
        named = last.value.get("orphans") or []
        orphans = {"orphans": len(named)} if named else {}
        copies = delivers_again(history) and _all_ended(history)
        counted = {**({} if copies else held), "unaccounted": unaccounted, **orphans}
        left = {name: number for name, number in counted.items() if number}
        summary = "the queue is empty"
        if copies and (number := sum(held.values())):
            summary = f"the queue holds {number} second deliveries of tasks that ended"
        if left:
            summary = "the queue still holds " + ", ".join(
                f"{number} {name}" for name, number in left.items()
            )
        why = open_end(history) if left else None
        if why is not None:
            summary += f", which is not judged: {why}"
        return CheckResult(
            verdict=Verdict.of(wrong=bool(left) and why is None, unsure=bool(left)),
            summary=f"{summary}; {dead} dead letters" if dead else summary,
            figures={**held, "dead": dead, "unaccounted": unaccounted, **orphans},
            counterexamples=({"kind": "left", **left, **({"named": named[:NAMED]} if named else {})},)
            if left
            else (),
        )

    return check


def _all_ended(history: History) -> bool:
    found = account(history)
    return not (found.lost or found.stuck or found.unfinished)


def _unaccounted(report: Operation, in_states: int) -> int | None:
    """How many more tasks the queue knows than its states hold; None if it does not count the tasks it knows."""
    known = optional_number(report, "known")
    return None if known is None else known - in_states
