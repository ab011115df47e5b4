"""The checkers that nearly every chaos scenario wants, put together."""

from __future__ import annotations

from harness.checker import Checker
from harness.checkers.delivery import delivery
from harness.checkers.duplicates import budget_per_kill, duplicates
from harness.checkers.evidence import evidence
from harness.checkers.exits import exits
from harness.checkers.faults_injected import faults_injected
from harness.checkers.fencing import fencing
from harness.checkers.nothing_left import nothing_left
from harness.checkers.recovery import recovery
from harness.checkers.transitions import transitions


def standard(
    *, recovery_p99: float | None = 2.0, concurrency: int = 4, minimum_faults: int = 1, minimum_kills: int = 0
) -> dict[str, Checker]:
    """Checkers by name, for a run that ends with a drain; add to it or replace entries with `|`.

    `recovery_p99` is in seconds, None leaves that checker out (for faults that kill no worker); `concurrency` is how
    many tasks one worker runs at a time, which bounds the duplicates that a kill excuses.
    """
    checkers = {
        "evidence": evidence(),
        "faults": faults_injected(minimum_faults, minimum_kills=minimum_kills),
        "delivery": delivery(),
        "duplicates": duplicates(budget_per_kill(concurrency)),
        "transitions": transitions(),
        "fencing": fencing(),
        "queue": nothing_left(),
        "exits": exits(),
    }
    if recovery_p99 is not None:
        checkers["recovery"] = recovery(recovery_p99)
    return checkers
