"""The history of a simulated run, in the vocabulary of every other history, on the virtual clock."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from harness.history import Operation, OperationType
from harness.simulation.scheduler import Process, Scheduler


class SimulatedRecorder:
    """Takes operations; those of a process that is dead were never written."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.operations: list[Operation] = []
        self.names: dict[UUID, int] = {}  # of activities, as numbers of tasks
        self.trace: list[tuple[int, str, str]] | None = (
            None  # time, process, what; kept for who wants to read it
        )

    def record(self, process: str, kind: OperationType, f: str, /, **value: Any) -> None:
        """Write one operation, stamped now."""
        operation = Operation(time=self._scheduler.now, process=process, type=kind, f=f, value=value)
        self.operations.append(operation)

    def by(self, process: Process, kind: OperationType, f: str, /, **value: Any) -> None:
        """Write one operation of a worker, if that lives."""
        if process.alive:
            self.record(f"worker-{process.pid}", kind, f, **value, pid=process.pid)

    def tell(self, process: Process | None, text: str) -> None:
        """Remember a line for the readable timeline, where one is wanted."""
        if self.trace is not None:
            self.trace.append((self._scheduler.now, "world" if process is None else process.name, text))
