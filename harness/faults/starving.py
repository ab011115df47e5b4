"""A fault that takes the processor from the workers: busy processes share one processor with them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from harness.errors import UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import descendants

# Ends by itself, and with its parent, whatever happens to the harness.
_BURN = """
import os, sys, time
end, parent = time.monotonic() + float(sys.argv[1]), os.getppid()
os.sched_setaffinity(0, {int(sys.argv[2])})
while time.monotonic() < end and os.getppid() == parent:
    sum(range(20_000))
"""
_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StarveWorkers:
    """All workers share one processor with `burners` busy processes, for `seconds`. Needs Linux."""

    at: float
    seconds: float = 2.0
    burners: int = 8
    gated: bool = False
    name: str = "starve-workers"
    kind: InjectionKind = InjectionKind.PAUSE
    loss: Loss = Loss.WORKER_STARVED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The workers of the oldest pool; raises `UsageError` where a process cannot be bound to a processor."""
        if not hasattr(os, "sched_setaffinity"):
            raise UsageError("This fault binds workers to one processor, which needs Linux. Leave it out.")
        pool, pids = some_workers(context)
        return Aim(pids=tuple(pids), pool=pool, value={"seconds": self.seconds, "burners": self.burners})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Bind the workers to the last processor, start the busy processes there, and wait."""
        busy = max(os.sched_getaffinity(0))
        with _burning(self.burners, self.seconds + _MARGIN_SECONDS, busy):
            before: dict[int, dict[int, set[int]]] = {}
            try:
                for pid in aim.pids:
                    before[pid] = _bound(pid, {busy})
                time.sleep(self.seconds)
            finally:
                for pid, own in before.items():
                    _give_back(pid, own)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the injection gives the processors back."""


@contextmanager
def _burning(count: int, seconds: float, processor: int) -> Iterator[None]:
    words = [sys.executable, "-I", "-S", "-c", _BURN, str(seconds), str(processor)]
    burners = [subprocess.Popen(words) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.wait()


def _bound(pid: int, processors: set[int]) -> dict[int, set[int]]:
    """Bind every thread of a process; the processors that each had before. Empty if the process has ended."""
    before: dict[int, set[int]] = {}
    for thread in _threads(pid):
        with suppress(OSError):
            before[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, processors)
    return before


def _give_back(pid: int, before: dict[int, set[int]]) -> None:
    """Let every thread have its own processors again; those that began meanwhile have those of the first one."""
    if not before:
        return
    first = before.get(pid, next(iter(before.values())))
    for thread in [thread for one in (pid, *descendants(pid)) for thread in _threads(one)]:
        with suppress(OSError):
            os.sched_setaffinity(thread, before.get(thread, first))


def _threads(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [thread.id for thread in psutil.Process(pid).threads()]
    return []
