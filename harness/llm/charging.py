"""Which fault a request that was paid again is charged to, by the history of the run."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from harness.history.faults import FaultWindow
from harness.history.runs import Run


class Charging:
    """Faults and runs of a history; `runs` may be empty, and then only the times of the faults decide.

    A fault that hit other workers than the one which sent a request is not its cause.
    """

    def __init__(self, faults: Sequence[FaultWindow], runs: Sequence[Run] = ()) -> None:
        self._faults = faults
        self._workers = frozenset(run.process for run in runs)
        self._runs: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for run in runs:
            if run.activity is not None:
                self._runs[run.activity].append((run.begun.time, run.process))

    def fault(self, activity: str | None, start: int, until: int) -> FaultWindow | None:
        """The fault between a request of an activity and its repetition, both in nanoseconds; None if there is none.

        Of several it is the last one that hit the worker of the request; if none did, the last one that hit a server.
        """
        active = [one for one in self._faults if one.start <= until and one.until >= start]
        worker = self._worker(activity, start)
        if worker is not None:
            active = [one for one in active if worker in one.workers or self._hits_all(one)]
        return max(active, key=lambda one: (worker in one.workers, one.start), default=None)

    def _hits_all(self, fault: FaultWindow) -> bool:
        return "service" in fault.injection.value or self._workers.isdisjoint(fault.workers)

    def _worker(self, activity: str | None, time: int) -> str | None:
        """The process of the last run of an activity that began before a time."""
        found = self._runs.get(activity or "", [])
        place = bisect_right(found, (time, "~"))
        return found[place - 1][1] if place else None
