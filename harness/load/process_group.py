"""CPU and memory of processes of this machine, by their ids."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

# How far the start of a process may be from the clock.
_CLOCK_SECONDS = 1.0


class ProcessGroup:
    """Processes that are looked at together again and again; some begin and end between two looks."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._before: dict[int, float] | None = None
        self._parent: int | None = None
        self._looked = 0.0
        self._base = self._used = 0.0

    def look(self, pids: Iterable[int], *, parent: int | None = None) -> tuple[float, float]:
        """Seconds of CPU since the first look, and bytes of memory now: what processes share counts once.

        The system adds the CPU of a process that has ended to that of its `parent`; without one, only what was seen of
        it counts. Another parent that began since the last look counts from its begin. Other threads run between two
        processes.
        """
        now: dict[int, float] = {}
        own = shared = 0
        for pid in set(pids) if parent is None else {*pids, parent}:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process = self._processes.get(pid) or psutil.Process(pid)
                times, memory = process.cpu_times(), process.memory_info()
                self._processes[pid] = process
                now[pid] = times.user + times.system
                if pid == parent:
                    # Under a key that is no process id: the CPU of its children that have ended.
                    now[-pid] = times.children_user + times.children_system
                both = getattr(memory, "shared", 0)
                own, shared = own + memory.rss - both, max(shared, both)
            time.sleep(0)
        self._add(now, parent)
        self._looked = time.time()
        self._processes = {pid: process for pid, process in self._processes.items() if pid in now}
        return self._used, float(own + shared)

    def _add(self, now: dict[int, float], parent: int | None) -> None:
        whole, before = sum(now.values()), self._before
        if before is None or parent != self._parent:
            began = before is not None and parent is not None and self._began(parent)
            self._base = (0.0 if began else whole) - self._used
        elif parent is None:
            self._base -= sum(cpu for pid, cpu in before.items() if pid not in now)
        # A child that has ended is nowhere until its parent has noticed that.
        self._used = max(self._used, whole - self._base)
        self._before, self._parent = now, parent

    def _began(self, pid: int) -> bool:
        """Whether a process began since the last look."""
        process = self._processes.get(pid)
        return process is not None and process.create_time() > self._looked - _CLOCK_SECONDS
