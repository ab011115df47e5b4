"""The tasks of any workload at given times: what `harness chaos run --load` submits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise

from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession
from harness.workloads.base import Workload, WorkloadClient
from harness.workloads.generator import Arrival


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledTasks:
    """The tasks of `tasks` while faults are injected, each `due` at a time of its own, in seconds since the start."""

    tasks: Workload
    due: tuple[float, ...]

    @property
    def name(self) -> str:
        """The name of the workload whose tasks these are."""
        return self.tasks.name

    def client(self, session: TargetSession, recorder: Recorder) -> WorkloadClient:
        """The client of the workload."""
        return self.tasks.client(session, recorder)

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """The tasks of the workload, as many as there are times."""
        delays = (later - earlier for earlier, later in pairwise(chain((0.0,), self.due)))
        arrivals = self.tasks.generator(seed=seed, tasks=tasks, gated=gated)
        return (replace(one, delay=delay) for one, delay in zip(arrivals, delays, strict=False))

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The last tasks of the workload, at its own distances, or at the mean one of the times if that is less."""
        mean = self.due[-1] / len(self.due)
        arrivals = self.tasks.final_generator(seed=seed, tasks=tasks)
        return (replace(one, delay=min(one.delay, mean)) for one in arrivals)

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of the workload."""
        return self.tasks.checkers()

    def number(self, seed: int) -> int:
        """How many tasks a run needs, those after the faults included, so that each time has one."""
        tasks = wanted = len(self.due)
        while (missing := wanted - self._available(seed, tasks)) > 0:
            tasks += missing
        return tasks

    def _available(self, seed: int, tasks: int) -> int:
        arrivals = self.tasks.generator(seed=seed, tasks=tasks, gated=())
        return sum(1 for _ in islice(arrivals, len(self.due)))
