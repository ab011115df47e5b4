"""Numbered tasks of which many share a lock key, in two priorities: what must exclude each other, and who must wait."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from harness.checkers import locks, priorities
from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient, NumberedTasks


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedTasks:
    """`tasks`, of which the share `locked` (0 to 1) has one of `keys` lock keys, and the share `high` goes first.

    A key can work off one task at a time: the rate of locked tasks times their work has to stay below the number of
    keys, or the drain is long.
    """

    name: str = "locked-tasks"
    tasks: NumberedTasks = field(default_factory=NumberedTasks)
    keys: int = 5
    locked: float = 0.5
    high: float = 0.6

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that records each submission twice, before and after, with its lock key and priority."""
        return self.tasks.client(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """All but the last tasks."""
        return map(self._dress(seed), self.tasks.generator(seed=seed, tasks=tasks, gated=gated))

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks."""
        return map(self._dress(seed), self.tasks.final_generator(seed=seed, tasks=tasks))

    def checkers(self) -> Mapping[str, Checker]:
        """What numbered tasks have to answer, mutual exclusion, and that nobody starves who can be seen to wait."""
        return {**self.tasks.checkers(), "locks": locks(), "priorities": priorities(minimum=0)}

    def _dress(self, seed: int) -> Callable[[Arrival], Arrival]:
        def dressed(arrival: Arrival) -> Arrival:
            # By the number of the task, so that both generators agree whatever each of them leaves out.
            draw = Random(f"{seed}/locked-tasks/{arrival.task.number}")  # noqa: S311 - a schedule, not a secret
            lock = f"key-{draw.randrange(self.keys)}" if draw.random() < self.locked else None
            priority = "high" if draw.random() < self.high else "low"
            return replace(arrival, task=replace(arrival.task, lock=lock, priority=priority))

        return dressed


WORKLOAD = LockedTasks()
