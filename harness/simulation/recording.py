"""The history of a simulated run, in the vocabulary of every other history and on the virtual clock."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from harness.history import Operation, OperationType
from harness.history.names import worker_name
from harness.simulation.scheduler import Process, Scheduler


class SimulatedRecorder:
    """Records operations; a dead process records nothing."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.operations: list[Operation] = []
        self.names: dict[UUID, int] = {}  # the number of the task, by its activity
        # Time, process and text of each line for `explain`; None if no trace is kept.
        self.trace: list[tuple[int, str, str]] | None = None

    def record(self, process: str, kind: OperationType, f: str, /, **value: Any) -> None:
        """Record one operation with the virtual time."""
        operation = Operation(time=self._scheduler.now, process=process, type=kind, f=f, value=value)
        self.operations.append(operation)

    def by(self, process: Process, kind: OperationType, f: str, /, **value: Any) -> None:
        """Record one operation of a worker, if its process is alive."""
        if process.alive:
            self.record(worker_name(process.pid), kind, f, **value, pid=process.pid)

    def trace_line(self, process: Process | None, text: str) -> None:
        """Add a line to the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append((self._scheduler.now, "harness" if process is None else process.name, text))
