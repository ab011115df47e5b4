"""Tasks as long as requests of an agent: most are short, a few are very long, and conversations share lock keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

from harness.checkers import locks
from harness.checkers.base import Checker
from harness.history import Recorder
from harness.load.agents import AgentModel, AgentWork, preset
from harness.targets.base import TargetSession
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient, NumberedTasks


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentTasks:
    """Numbered tasks that work as long as requests of `preset`, in `time_scale` times their time.

    A task works `longest` seconds at most: a request of an agent may take hours, and a run has to end. Tasks of one
    conversation have the same lock key, so they run one at a time.
    """

    name: str = "agent-tasks"
    tasks: NumberedTasks = field(default_factory=NumberedTasks)
    preset: str = "coding-agent"
    time_scale: float = 0.001
    longest: float = 2.0

    @property
    def rate(self) -> float:
        """How many tasks arrive in a second, on average."""
        return self.tasks.rate

    def with_rate(self, rate: float) -> Self:
        """The same workload at another rate."""
        return replace(self, tasks=self.tasks.with_rate(rate))

    def client(self, session: TargetSession, recorder: Recorder) -> NumberedClient:
        """A client that records each submission twice, before and after, with its lock key."""
        return self.tasks.client(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """All but the last tasks."""
        arrivals = self.tasks.generator(seed=seed, tasks=tasks, gated=gated)
        return map(self._assigned, arrivals, self._works(seed))

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks."""
        arrivals = list(self.tasks.final_generator(seed=seed, tasks=tasks))
        return map(self._assigned, arrivals, islice(self._works(seed), tasks - len(arrivals), None))

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks, and mutual exclusion by lock keys."""
        return {**self.tasks.checkers(), "locks": locks()}

    def _works(self, seed: int) -> Iterator[AgentWork]:
        return AgentModel(preset(self.preset), seed).works()

    def _assigned(self, arrival: Arrival, work: AgentWork) -> Arrival:
        seconds = min(self.longest, work.seconds * self.time_scale)
        return replace(arrival, task=replace(arrival.task, work=seconds, lock=work.conversation))


WORKLOAD = AgentTasks()
