"""How long handlers may run. Shared by the event loop, which begins and ends runs, and the thread that watches them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.task import TaskDefinition

RunT = TypeVar("RunT")


@dataclass(frozen=True, slots=True)
class Limits:
    """Soft and hard time limit in seconds, None for none."""

    soft: float | None
    hard: float | None

    @classmethod
    def of(cls, definition: TaskDefinition, settings: Settings) -> Limits:
        """The limits of a task: its own, else those of the settings."""
        return cls(
            soft=definition.soft_time_limit or settings.task_soft_time_limit or None,
            hard=definition.time_limit or settings.task_time_limit or None,
        )


class HardLimits(Generic[RunT]):
    """Runs with a hard time limit, and which of them have outlived it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[int, tuple[float, float, RunT]] = {}  # token -> deadline, limit, run

    def begin(self, token: int, limit: float | None, run: RunT) -> None:
        """A run began."""
        if limit is not None:
            with self._lock:
                self._deadlines[token] = runtime.current().monotonic() + limit, limit, run

    def end(self, token: int) -> None:
        """A run is over."""
        with self._lock:
            self._deadlines.pop(token, None)

    def overdue(self) -> list[tuple[RunT, float]]:
        """The runs past their limit, each with that limit in seconds."""
        now = runtime.current().monotonic()
        with self._lock:
            return [(run, limit) for deadline, limit, run in self._deadlines.values() if now >= deadline]
