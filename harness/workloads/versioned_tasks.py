"""Numbered tasks of which some need the second version of the application."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Self

from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient, NumberedTasks


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionedTasks:
    """The share `new` (0 to 1) of the tasks needs version 2. A task with a gate never does, so any pool reaches it."""

    name: str = "versioned-tasks"
    tasks: NumberedTasks = field(default_factory=NumberedTasks)
    new: float = 0.5

    @property
    def rate(self) -> float:
        """How many tasks arrive in a second, on average."""
        return self.tasks.rate

    def with_rate(self, rate: float) -> Self:
        """The same workload at another rate."""
        return replace(self, tasks=self.tasks.with_rate(rate))

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that records each submission twice, before and after."""
        return self.tasks.client(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """All but the last tasks."""
        return map(self._assign(seed), self.tasks.generator(seed=seed, tasks=tasks, gated=gated))

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks."""
        return map(self._assign(seed), self.tasks.final_generator(seed=seed, tasks=tasks))

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks."""
        return self.tasks.checkers()

    def _assign(self, seed: int) -> Callable[[Arrival], Arrival]:
        def assigned(arrival: Arrival) -> Arrival:
            # Seeded by the number of the task, so that both generators agree on it.
            draw = Random(f"{seed}/versioned-tasks/{arrival.task.number}")  # noqa: S311 - a schedule, not a secret
            new = draw.random() < self.new and arrival.task.gate is None
            return replace(arrival, task=replace(arrival.task, version=2 if new else 1))

        return assigned


WORKLOAD = VersionedTasks()
