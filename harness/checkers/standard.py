"""The set of checkers that nearly every chaos scenario uses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from harness.checkers.availability import availability
from harness.checkers.base import Checker
from harness.checkers.causality import causality
from harness.checkers.delivery import delivery
from harness.checkers.duplicates import budget_per_kill, duplicates
from harness.checkers.effects import effects
from harness.checkers.evidence import evidence
from harness.checkers.exits import exits
from harness.checkers.faults_injected import faults_injected
from harness.checkers.fencing import fencing
from harness.checkers.locks import locks
from harness.checkers.nothing_left import nothing_left
from harness.checkers.priorities import priorities
from harness.checkers.progress import progress
from harness.checkers.protocol import protocol
from harness.checkers.recovery import recovery
from harness.checkers.steady_state import steady_state
from harness.checkers.transitions import transitions
from harness.checkers.witnesses import witnesses

FEATURES = ("effects", "progress", "locks", "priorities")
"""Features that a workload may use, each with a checker of its name."""


def standard(
    *,
    recovery_p99: float | Literal["promised"] | None = "promised",
    concurrency: int = 4,
    minimum_faults: int = 1,
    minimum_kills: int = 0,
    uses: Collection[str] = (),
) -> dict[str, Checker]:
    """Checkers by name, for a run that ends with a drain; add checkers or replace entries with `|`.

    `recovery_p99` is in seconds, or the bound that the target promises; None leaves that checker out (for faults that
    kill no worker). `concurrency` is how
    many tasks one worker runs at a time, which bounds the duplicates that a kill excuses. `uses` names the members of
    `FEATURES` that the workload uses: the checker of such a feature is UNKNOWN if the history shows nothing of it. The
    checker of any other feature is VALID if the history shows nothing of it, and otherwise judges what the history
    shows. Raises `ValueError` for a name that is not in `FEATURES`.
    """
    if unknown := sorted(set(uses) - set(FEATURES)):
        raise ValueError(f"there is no feature {unknown[0]!r}; choose from {', '.join(FEATURES)}")
    checkers = {
        "evidence": evidence(),
        "faults": faults_injected(minimum_faults, minimum_kills=minimum_kills),
        "delivery": delivery(),
        "duplicates": duplicates(budget_per_kill(concurrency)),
        "transitions": transitions(),
        "fencing": fencing(),
        "protocol": protocol(),
        "queue": nothing_left(),
        "exits": exits(),
        "witnesses": witnesses(),
        "causality": causality(),
        "effects": effects(minimum=int("effects" in uses)),
        "progress": progress(minimum=int("progress" in uses)),
        "locks": locks(minimum=int("locks" in uses)),
        "priorities": priorities(minimum=int("priorities" in uses)),
        "availability": availability(),
        "steady": steady_state(),
    }
    if recovery_p99 is not None:
        checkers["recovery"] = recovery(None if recovery_p99 == "promised" else recovery_p99)
    return checkers
