"""The producer of a lane: a process of its own, or the client process of an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.errors import TargetFailed
from harness.targets.adapter import AdapterSession
from harness.targets.base import OperatorAction, Submission, TaskSpec


class LaneProducer(Protocol):
    """Submits and cancels tasks through the wires of the producer."""

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks together; raises `TargetFailed` if the producer ends before it answers."""
        ...

    def cancel(self, activities: Sequence[str]) -> None:
        """Cancel tasks; raises `TargetFailed`."""
        ...

    def operate(self, action: OperatorAction, activities: Sequence[str]) -> None:
        """Do what an operator does with tasks that have ended (`OperatorAction`); raises `TargetFailed`."""
        ...

    def pids(self) -> list[int]:
        """The processes that are alive, the oldest first."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class ClientOfAdapter:
    """The client process of an adapter as the producer."""

    def __init__(self, session: AdapterSession) -> None:
        self.session = session

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return self.session.submit(tasks)

    def cancel(self, activities: Sequence[str]) -> None:
        del activities
        raise TargetFailed("An adapter has no call that cancels. Leave the life `canceled` out.")

    def operate(self, action: OperatorAction, activities: Sequence[str]) -> None:
        del action, activities
        raise TargetFailed("An adapter has no call for operators.")

    def pids(self) -> list[int]:
        return self.session.client.pids()

    def close(self) -> None:
        """Remove the data of the lane, and end the client."""
        self.session.kill()
