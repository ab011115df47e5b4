"""Leases that may have expired because the machine starved the worker, and not because of a fault."""

from __future__ import annotations

from harness.history.figures import NANOSECONDS
from harness.history.history import History
from harness.history.machine import SHARE, lost_to_machine, machine_samples
from harness.history.promises import promises

LEASE_SHARE = 2 / 3
"""The share of a lease that the machine has to take away: workers renew a lease about each third of its length."""


def starved_lease(history: History, start: int, end: int) -> str | None:
    """Why a lease that was taken at `start` may have expired by `end` (nanoseconds) on this machine, else None.

    The length of a lease is what the target promises (`takes_over_after`); without it, no lease is excused.
    """
    made = promises(history)
    if made is None or made.takes_over_after is None:
        return None
    lease = made.takes_over_after
    times = [one.time for one in machine_samples(history) if start < one.time < end]
    for time in (*times, end):
        since = max(start, time - round(lease * NANOSECONDS))
        if (excuse := lost_to_machine(history, since, time, excess=lease * LEASE_SHARE / SHARE)) is not None:
            return excuse
    return None
