"""Numbered tasks of which many share lock keys, in two priorities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.checkers import locks, priorities
from harness.checkers.base import Checker
from harness.draws import seeded
from harness.workloads.derived import DerivedTasks
from harness.workloads.generator import Arrival


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedTasks(DerivedTasks):
    """The share `locked` (0 to 1) of the tasks has one of `keys` lock keys; the share `high` has high priority.

    Tasks of one key run one at a time: the rate of locked tasks times their work must stay below the number of keys,
    or the drain takes long.
    """

    name: str = "locked-tasks"
    keys: int = 5
    locked: float = 0.5
    high: float = 0.6

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks, mutual exclusion by lock keys, and order by priority."""
        return {**self.tasks.checkers(), "locks": locks(), "priorities": priorities(minimum=0)}

    def _change(self, seed: int) -> Callable[[Arrival], Arrival]:
        def assigned(arrival: Arrival) -> Arrival:
            # Seeded by the number of the task, so that both generators agree on it.
            draw = seeded(seed, "locked-tasks", arrival.task.number)
            lock = f"key-{draw.randrange(self.keys)}" if draw.random() < self.locked else None
            priority = "high" if draw.random() < self.high else "low"
            return replace(arrival, task=replace(arrival.task, lock=lock, priority=priority))

        return assigned


WORKLOAD = LockedTasks()
