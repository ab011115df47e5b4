"""Numbered tasks of which some need the second version of the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.draws import seeded
from harness.workloads.derived import DerivedTasks
from harness.workloads.generator import Arrival


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionedTasks(DerivedTasks):
    """The share `new` (0 to 1) of the tasks needs version 2. A task with a gate never does, so any pool reaches it."""

    name: str = "versioned-tasks"
    new: float = 0.5

    def _change(self, seed: int) -> Callable[[Arrival], Arrival]:
        def assigned(arrival: Arrival) -> Arrival:
            # Seeded by the number of the task, so that both generators agree on it.
            draw = seeded(seed, "versioned-tasks", arrival.task.number)
            new = draw.random() < self.new and arrival.task.gate is None
            return replace(arrival, task=replace(arrival.task, version=2 if new else 1))

        return assigned


WORKLOAD = VersionedTasks()
