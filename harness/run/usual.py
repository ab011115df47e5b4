"""The usual checkers for a history that does not carry those of its run."""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.checkers.base import Checker
from harness.history import History, InjectionKind
from harness.history.faults import injected_faults
from harness.history.promises import promises
from harness.history.workers import worker_lives

_CONCURRENCY = 4
"""How many tasks a worker runs at a time, without a promise of the target."""

_EVIDENCE = {
    "exits": "exit",
    "transitions": "transition",
    "protocol": "transition",
    "fencing": "run",
    "queue": "queue",
    "witnesses": "queue",
    "causality": "run",
    "availability": "enqueue",
    "steady": "enqueue",
    "duplicates": "run",
}
"""By checker, an operation without which it has nothing to judge."""


def usual_checkers(history: History) -> tuple[dict[str, Checker], list[str]]:
    """The checkers by name, and what they leave out: the bounds that only a scenario has, and what has no evidence.

    A history with promises is asked for them, whatever evidence it has. Faults that may cost leases excuse as many
    duplicates as the workers run tasks at a time, kills those of their workers.
    """
    made = promises(history)
    faults = injected_faults(history)
    slots = _CONCURRENCY if made is None else made.slots_per_worker or _CONCURRENCY
    kinds = {fault.kind for fault in faults}
    checkers = standard(
        recovery_p99="promised" if InjectionKind.KILL in kinds else None, concurrency=slots, minimum_faults=0
    )
    if not kinds <= {InjectionKind.KILL, InjectionKind.STOP}:
        checkers["duplicates"] = duplicates(budget_per_fault(slots * max(len(worker_lives(history)), 1)))
    absent = [name for name, f in _EVIDENCE.items() if made is None and next(history.where(f), None) is None]
    left_out = ["shutdown"] if InjectionKind.STOP in kinds else []
    return {name: one for name, one in checkers.items() if name not in absent}, [*absent, *left_out]
