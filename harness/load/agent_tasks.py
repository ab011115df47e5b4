"""Tasks as long as requests of an agent: most are short, a few are very long, and conversations share lock keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.checkers import locks
from harness.checkers.base import Checker
from harness.load.agents import AgentModel, preset
from harness.workloads.derived import DerivedTasks
from harness.workloads.generator import Arrival


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentTasks(DerivedTasks):
    """Numbered tasks that work as long as requests of `preset`, in `time_scale` times their time.

    A task works `longest` seconds at most: a request of an agent may take hours, and a run has to end. Tasks of one
    conversation have the same lock key, so they run one at a time.
    """

    name: str = "agent-tasks"
    preset: str = "coding-agent"
    time_scale: float = 0.001
    longest: float = 2.0

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of numbered tasks, and mutual exclusion by lock keys."""
        return {**self.tasks.checkers(), "locks": locks()}

    def _change(self, seed: int) -> Callable[[Arrival], Arrival]:
        works = enumerate(AgentModel(preset(self.preset), seed).works(), start=1)

        def changed(arrival: Arrival) -> Arrival:
            work = next(work for number, work in works if number == arrival.task.number)
            seconds = min(self.longest, work.seconds * self.time_scale)
            return replace(arrival, task=replace(arrival.task, work=seconds, lock=work.conversation))

        return changed


WORKLOAD = AgentTasks()
