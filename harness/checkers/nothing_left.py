"""Is the queue empty after the drain?"""

from __future__ import annotations

from harness.checker import Checker, CheckResult, Verdict
from harness.checkers._reading import whole
from harness.history import History

WAITING = ("ready", "leased", "scheduled")


def nothing_left() -> Checker:
    """By the queue's own word at the end, no task is ready, leased or scheduled.

    The last `queue` operation counts. Dead letters are reported and not judged here: `delivery` judges the tasks behind
    them. UNKNOWN without a `queue` operation. Does not claim that what left the queue was done.
    """

    def check(history: History) -> CheckResult:
        witness = list(history.where("queue"))
        if not witness:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the queue was not asked what it still holds")
        last = witness[-1]
        held = {name: whole(last, name) for name in WAITING}
        dead = last.value.get("dead")
        dead = len(dead) if isinstance(dead, list | tuple) else dead
        left = {name: number for name, number in held.items() if number}
        summary = "the queue is empty"
        if left:
            summary = "the queue still holds " + ", ".join(
                f"{number} {name}" for name, number in left.items()
            )
        return CheckResult(
            verdict=Verdict.INVALID if left else Verdict.VALID,
            summary=f"{summary}; {dead} dead letters" if dead else summary,
            figures={**held, "dead": dead},
            counterexamples=({"kind": "left", **left},) if left else (),
        )

    return check
