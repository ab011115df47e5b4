"""Is the queue empty after the drain, with no task forgotten between its states?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History, Operation
from harness.history.reading import whole

WAITING = ("ready", "leased", "scheduled", "parked")
"""States in which a task is still to be done. A queue without lock keys need not count `parked`."""


def nothing_left() -> Checker:
    """By the queue's own word at the end, no task waits or is leased, and none is known in no state.

    The last `queue` operation counts. Where it says how many tasks the queue knows, its states have to hold exactly so
    many (`unaccounted` is 0): a task in none of them would never be claimed. Dead letters are reported and not judged
    here: `delivery` judges the tasks behind them. UNKNOWN without a `queue` operation. Does not claim that what left
    the queue was done.
    """

    def check(history: History) -> CheckResult:
        witness = list(history.where("queue"))
        if not witness:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the queue was not asked what it still holds")
        last = witness[-1]
        held = {name: whole(last, name) for name in WAITING if name != "parked" or name in last.value}
        dead = last.value.get("dead")
        dead = len(dead) if isinstance(dead, list | tuple) else dead
        unaccounted = _unaccounted(last, sum(held.values()) + (dead or 0))
        left = {name: number for name, number in (held | {"unaccounted": unaccounted}).items() if number}
        summary = "the queue is empty"
        if left:
            summary = "the queue still holds " + ", ".join(
                f"{number} {name}" for name, number in left.items()
            )
        return CheckResult(
            verdict=Verdict.INVALID if left else Verdict.VALID,
            summary=f"{summary}; {dead} dead letters" if dead else summary,
            figures={**held, "dead": dead, "unaccounted": unaccounted},
            counterexamples=({"kind": "left", **left},) if left else (),
        )

    return check


def _unaccounted(witness: Operation, in_states: int) -> int | None:
    """How many more tasks the queue knows than its states hold; None where it does not count what it knows."""
    known = witness.value.get("known")
    return known - in_states if type(known) is int else None
