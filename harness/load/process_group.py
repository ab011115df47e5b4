"""CPU and memory of processes of this machine, by their ids."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil


class ProcessGroup:
    """Processes that are looked at together again and again; some begin and end between two looks."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._before: dict[int, float] = {}
        self._parent: int | None = None
        self._base = self._used = 0.0

    def look(self, pids: Iterable[int], *, parent: int | None = None) -> tuple[float, float]:
        """Seconds of CPU since the first look, and bytes of memory now: what processes share counts once.

        The system adds the CPU of a process that has ended to that of its `parent`; without one, only what was seen of
        it counts. Other threads run between two processes.
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
        self._processes = {pid: process for pid, process in self._processes.items() if pid in now}
        return self._used, float(own + shared)

    def _add(self, now: dict[int, float], parent: int | None) -> None:
        whole = sum(now.values())
        if not self._before or parent != self._parent:
            self._base = whole - self._used
        elif parent is None:
            self._base -= sum(cpu for pid, cpu in self._before.items() if pid not in now)
        # A child that has ended is nowhere until its parent has noticed that.
        self._used = max(self._used, whole - self._base)
        self._before, self._parent = now, parent
