"""A workload: which tasks a client submits, when, and which checkers judge the result."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

from harness.checkers.base import Checker
from harness.history import Recorder
from harness.targets.base import TargetSession, TaskFeature, TaskSpec
from harness.workloads.generator import Arrival


class WorkloadClient(Protocol):
    """Submits the tasks of a workload to the target and records every operation and its outcome.

    `submit` is called from many threads at once. `Recorder` and `TargetSession.submit` allow that.
    """

    def submit(self, tasks: Sequence[TaskSpec]) -> object:
        """Submit tasks now, and record when each was intended. A failed submission is recorded and does not raise."""
        ...

    def unfinished(self) -> int:
        """How many of the submitted tasks are unfinished according to the target."""
        ...


class Workload(Protocol):
    """Client, generators and checkers of one kind of work. A frozen value; all randomness comes from the seed."""

    @property
    def name(self) -> str:
        """The name of its entry point."""
        ...

    def client(self, session: TargetSession, recorder: Recorder) -> WorkloadClient:
        """A client on an open session; `recorder` writes as the process `client`."""
        ...

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        """The tasks while faults are injected; `tasks` in all, together with `final_generator`."""
        ...

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        """The tasks after every fault is healed: the target must still accept and finish them."""
        ...

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of every run of this workload, whatever the faults."""
        ...


@runtime_checkable
class FeaturedWorkload(Workload, Protocol):
    """A workload of which tasks have features that a target may lack."""

    @property
    def features(self) -> Sequence[TaskFeature]:
        """The features of its tasks."""
        ...

    def with_features(self, features: Sequence[TaskFeature]) -> Self:
        """The same workload with these features only."""
        ...


@runtime_checkable
class PacedWorkload(Workload, Protocol):
    """A workload whose rate a run can change, with `--rate` or because its target has fewer slots."""

    @property
    def rate(self) -> float:
        """How many tasks arrive in a second, on average."""
        ...

    def with_rate(self, rate: float) -> Self:
        """The same workload at another rate."""
        ...
