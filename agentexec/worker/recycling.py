"""When to replace a worker process: handlers leak memory and threads, and a new process is the cheapest remedy."""

from __future__ import annotations

from importlib import import_module

from agentexec.config import Settings
from agentexec.core import runtime

# The part of the number of tasks by which workers differ, so that a pool does not replace all of them at once.
SPREAD = 0.1


class RecyclePolicy:
    """Counts tasks and measures memory for one process."""

    def __init__(self, settings: Settings) -> None:
        tasks = settings.max_tasks_per_worker
        self._tasks = round(tasks * (1 - runtime.current().uniform(0, SPREAD))) if tasks else 0
        self._memory = settings.max_worker_memory
        self._threads = settings.worker_concurrency
        self._process = import_module("psutil").Process() if self._memory else None

    def is_over(self, finished: int, threads_left_behind: int = 0) -> bool:
        """Whether to replace a process that has finished that many tasks.

        Threads of sync handlers that run on after their task was canceled count too: as many of them as the worker has
        slots are too many.
        """
        if threads_left_behind >= self._threads or 0 < self._tasks <= finished:
            return True
        # After one task at least: a process that is too large from the start must not be replaced for ever.
        if self._process is None or finished == 0:
            return False
        return int(self._process.memory_info().rss) > self._memory
