"""What a server evicted from the queue, and what became of the tasks that the queue had."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.history.faults import FaultWindow, injected_faults
from harness.history.fields import activity_of
from harness.history.figures import counted
from harness.history.runs import runs
from harness.history.statuses import COMPLETE

EVICTIONS = "evictions"
"""The name of the checker, which is asked of each history with a fault that evicts."""

_KEYS, _BEFORE, _LOST = "evicted_keys", "tasks_before", "lost_tasks"


def evictions() -> Checker:
    """Each task that was evicted from the queue was dispatched again, or ended in the run that it had.

    The faults record how many keys the server evicted and, of a target that can say it, which tasks the queue had and
    then no more. Such a task was dispatched again if a run of it began after the injection. UNKNOWN if one of them
    neither began nor ended: `delivery` says whether it is lost. Does not see a task that came back between two looks of
    the fault.
    """

    def check(history: History) -> CheckResult:
        faults = _evicting(history)
        began: dict[str, int] = defaultdict(int)
        for run in runs(history):
            began[run.activity or ""] = max(began[run.activity or ""], run.begun.time)
        complete = {
            activity_of(one) for one in history.where("record") if one.value.get("status") == COMPLETE
        }
        lost = [(task, fault.start) for fault in faults for task in _found(fault).get(_LOST, ())]
        again = [task for task, start in lost if began[task] > start]
        missing = [task for task, start in lost if began[task] <= start and task not in complete]
        keys, before = (sum(int(_found(one).get(name, 0)) for one in faults) for name in (_KEYS, _BEFORE))
        ended = len(lost) - len(again) - len(missing)
        known = all(_LOST in _found(one) for one in faults)
        summary = f"{counted(keys, 'key')} evicted in {counted(len(faults), 'fault')}" + (
            f": the queue had {counted(before, 'task')} before and lost {len(lost)} ({len(again)} "
            f"dispatched again, {ended} ended in the run that they had, {len(missing)} neither)"
            if known
            else "; the target does not say which tasks its queue has"
        )
        return CheckResult(
            verdict=Verdict.of(wrong=False, unsure=bool(missing) or not faults),
            summary=summary,
            figures={"keys": keys, "before": before, "gone": len(lost), "again": len(again), "ended": ended},
            counterexamples=tuple({"kind": "not dispatched again", "activity": one} for one in missing),
        )

    return check


def recorded_evictions(history: History) -> dict[str, Checker]:
    """The checker, for a history with a fault that evicts; raises `ValueError` for a fault that cannot be read."""
    return {EVICTIONS: evictions()} if _evicting(history) else {}


def _evicting(history: History) -> list[FaultWindow]:
    return [fault for fault in injected_faults(history) if _KEYS in _found(fault)]


def _found(fault: FaultWindow) -> dict[str, Any]:
    return {} if fault.heal is None else dict(fault.heal.value)
