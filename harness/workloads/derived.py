"""Numbered tasks that differ in one respect, for example by lock keys: the base of such workloads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient, NumberedTasks


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivedTasks(ABC):
    """The arrivals of `tasks`, each changed by `_change`."""

    name: str
    tasks: NumberedTasks = field(default_factory=NumberedTasks)

    @property
    def rate(self) -> float:
        """How many tasks arrive in a second, on average."""
        return self.tasks.rate

    def with_rate(self, rate: float) -> Self:
        """The same workload at another rate."""
        return replace(self, tasks=self.tasks.with_rate(rate))

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that records each submission twice, before and after, with what differs."""
        return self.tasks.client(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """All but the last tasks."""
        return map(self._change(seed), self.tasks.generator(seed=seed, tasks=tasks, gated=gated))

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks."""
        return map(self._change(seed), self.tasks.final_generator(seed=seed, tasks=tasks))

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks."""
        return self.tasks.checkers()

    @abstractmethod
    def _change(self, seed: int) -> Callable[[Arrival], Arrival]:
        """What changes arrivals in the order of their tasks; it depends on the number of a task only."""
