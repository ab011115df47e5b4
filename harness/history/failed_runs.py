"""Runs of handlers that failed, and whether their workers recorded that themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.history.faults import injected_faults, kills
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.lost_leases import lease_may_be_lost
from harness.history.operation import OperationType
from harness.history.runs import Run, runs


class FailedRun(NamedTuple):
    """A run that failed, and until when that was recorded at the latest: then the next run of its activity began."""

    run: Run
    recorded: int


def failed_runs(history: History) -> Mapping[str, Sequence[FailedRun]]:
    """By `subject_of`, the runs whose handlers failed, the last one first."""
    return history.derive(_failed_runs)


def recorded_by_worker(history: History, failed: FailedRun) -> bool:
    """Whether the worker of a failed run certainly recorded its end itself.

    No fault killed or stopped the worker until then, or may have cost it the lease.
    """
    run, recorded = failed
    stopped = any(
        fault.kind is InjectionKind.STOP and run.process in fault.workers and fault.start <= recorded
        for fault in injected_faults(history)
    )
    killed = kills(history).get(run.process)
    if stopped or (killed is not None and killed.start <= recorded):
        return False
    return not lease_may_be_lost(history, run, recorded)


def _failed_runs(history: History) -> Mapping[str, Sequence[FailedRun]]:
    found: dict[str, list[FailedRun]] = {}
    next_began: dict[str, int] = {}
    for run in reversed(runs(history)):
        if run.ended is not None and run.ended.type is OperationType.FAIL:
            recorded = next_began.get(run.subject, history.operations[-1].time)
            found.setdefault(run.subject, []).append(FailedRun(run, recorded))
        next_began[run.subject] = run.begun.time
    return found
