"""Whether a fault may have cost a worker its lease: a fault excuses only what it may have caused."""

from __future__ import annotations

from collections.abc import Set

from harness.history.faults import FaultWindow, injected_faults, leaves_alive
from harness.history.figures import NANOSECONDS, seconds
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.promises import promises
from harness.history.runs import Run
from harness.history.workers import worker_lives

LONGEST_LEASE = 10.0
"""Seconds, for a history that does not promise when others take the tasks of a silent worker over."""

_SHORTEST_SHARE = 1 / 2
"""A pause of a worker that is shorter than this share of a lease ends no lease: workers renew each third of it."""


def lease_seconds(history: History) -> float:
    """How long a lease lasts, as the target promises; `LONGEST_LEASE` without a promise."""
    made = promises(history)
    after = None if made is None else made.takes_over_after
    return LONGEST_LEASE if after is None else after


def lease_may_be_lost(history: History, run: Run, until: int) -> bool:
    """Whether a fault that neither kills nor stops may have cost the run its lease before `until` (nanoseconds).

    The fault was active at some time from one lease before the beginning of the run on, because a run begins after its
    claim. It hit the worker of the run, or no worker in particular, as a fault of a server does. A pause of a worker
    that certainly was shorter than half a lease does not count.
    """
    since = run.begun.time - round(lease_seconds(history) * NANOSECONDS)
    workers = history.derive(_workers)
    return any(
        leaves_alive(fault)
        and fault.start <= until
        and _may_last_until(fault) >= since
        and (run.process in fault.workers or workers.isdisjoint(fault.workers))
        and not (run.process in fault.workers and _is_short_pause(history, fault))
        for fault in injected_faults(history)
    )


def _is_short_pause(history: History, fault: FaultWindow) -> bool:
    if fault.kind is not InjectionKind.PAUSE or fault.until == fault.start:
        return False
    return seconds(fault.until - fault.start) < lease_seconds(history) * _SHORTEST_SHARE


def _may_last_until(fault: FaultWindow) -> float:
    """The end of the fault window; a pause of which neither end nor length is known may last for ever."""
    endless = fault.kind is InjectionKind.PAUSE and fault.until == fault.start
    return float("inf") if endless else fault.until


def _workers(history: History) -> Set[str]:
    return {life.process for life in worker_lives(history)}
