"""Numbered tasks of which many share lock keys, in two priorities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Self

from harness.checkers import locks, priorities
from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient, NumberedTasks


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedTasks:
    """The share `locked` (0 to 1) of the tasks has one of `keys` lock keys; the share `high` has high priority.

    Tasks of one key run one at a time: the rate of locked tasks times their work must stay below the number of keys,
    or the drain takes long.
    """

    name: str = "locked-tasks"
    tasks: NumberedTasks = field(default_factory=NumberedTasks)
    keys: int = 5
    locked: float = 0.5
    high: float = 0.6

    @property
    def rate(self) -> float:
        """How many tasks arrive in a second, on average."""
        return self.tasks.rate

    def with_rate(self, rate: float) -> Self:
        """The same workload at another rate."""
        return replace(self, tasks=self.tasks.with_rate(rate))

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that records each submission twice, before and after, with its lock key and priority."""
        return self.tasks.client(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """All but the last tasks."""
        return map(self._assign(seed), self.tasks.generator(seed=seed, tasks=tasks, gated=gated))

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks."""
        return map(self._assign(seed), self.tasks.final_generator(seed=seed, tasks=tasks))

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks, mutual exclusion by lock keys, and order by priority."""
        return {**self.tasks.checkers(), "locks": locks(), "priorities": priorities(minimum=0)}

    def _assign(self, seed: int) -> Callable[[Arrival], Arrival]:
        def assigned(arrival: Arrival) -> Arrival:
            # Seeded by the number of the task, so that both generators agree on it.
            draw = Random(f"{seed}/locked-tasks/{arrival.task.number}")  # noqa: S311 - a schedule, not a secret
            lock = f"key-{draw.randrange(self.keys)}" if draw.random() < self.locked else None
            priority = "high" if draw.random() < self.high else "low"
            return replace(arrival, task=replace(arrival.task, lock=lock, priority=priority))

        return assigned


WORKLOAD = LockedTasks()
