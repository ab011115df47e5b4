"""Which unfinished tasks the queue of a target loses while a fault lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from harness.errors import TargetFailed

_PAUSE_SECONDS = 0.05


class LostTasks:
    """Looks again and again, from before the fault on; what comes back between two looks is not seen.

    `ask` gives each unfinished task, and whether the queue has it.
    """

    def __init__(self, ask: Callable[[], Mapping[str, bool]]) -> None:
        self._ask = ask
        self._known: set[str] = set()
        self._lost: dict[str, None] = {}
        self._look()
        self._before = len(self._known)

    def watch(self, seconds: float) -> None:
        """Look for this time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()
            time.sleep(_PAUSE_SECONDS)

    def found(self) -> dict[str, Any]:
        """How many tasks the queue had before the fault, and those that it had and lost."""
        return {"tasks_before": self._before, "lost_tasks": list(self._lost)}

    def _look(self) -> None:
        with suppress(TargetFailed):  # a server may refuse while the fault lasts
            for task, is_there in self._ask().items():
                if is_there:
                    self._known.add(task)
                elif task in self._known:
                    self._lost[task] = None
