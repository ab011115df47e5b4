"""When a worker process has lived long enough: handlers leak, and a fresh process is the cheapest cure."""

from __future__ import annotations

import random

import psutil

from agentexec.config import Settings
from agentexec.core import runtime

SPREAD = (
    0.1  # part of the number of tasks by which workers differ, so that a pool does not recycle all at once
)


class RecyclePolicy:
    """Counts tasks and looks at memory for one process."""

    def __init__(self, settings: Settings, *, rng: random.Random | None = None) -> None:
        tasks = settings.max_tasks_per_worker
        self._tasks = round(tasks * (1 - (rng or runtime.current()).uniform(0, SPREAD))) if tasks else 0
        self._memory = settings.max_worker_memory
        self._process = psutil.Process() if self._memory else None

    def is_over(self, finished: int) -> bool:
        """Whether a process that has finished so many tasks is to be replaced."""
        if self._tasks and finished >= max(1, self._tasks):
            return True
        # After a task at least: a process that is too large from the start must not be replaced for ever.
        if self._process is None or finished == 0:
            return False
        return int(self._process.memory_info().rss) > self._memory
