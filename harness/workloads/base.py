"""What is asked of a target during a run: which tasks, when, and when all of it is over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession, TaskSpec
from harness.workloads.generator import Arrival


class WorkloadClient(Protocol):
    """Speaks to the target for the workload, and records every operation and its outcome."""

    def submit(self, tasks: Sequence[TaskSpec]) -> None:
        """Submit tasks now. A failed submission is an outcome and not an exception."""
        ...

    def unfinished(self) -> int:
        """How many of the tasks submitted so far the target itself does not call finished yet."""
        ...


class Workload(Protocol):
    """Client, generator, final generator and checkers of one kind of work. Frozen; all randomness is the seed's."""

    @property
    def name(self) -> str:
        """The name it is registered under."""
        ...

    def client(self, session: TargetSession, recorder: Recorder) -> WorkloadClient:
        """A client on an open session; `recorder` writes as the process `client`."""
        ...

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """What is submitted while faults are injected; with `final_generator` it makes `tasks` tasks in all."""
        ...

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """What is submitted once everything is healed: a system that survived still takes work and finishes it."""
        ...

    def checkers(self) -> Mapping[str, Checker]:
        """The questions that every run of this workload has to answer, whatever the faults."""
        ...
