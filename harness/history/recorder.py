"""Recording: each process appends its operations to a file of its own, and SIGKILL loses no completed line.

Each operation is one `write(2)` to a file opened with O_APPEND, so it is in the kernel before the next statement runs.
SIGKILL of the writer can at most leave a last line without its newline, which the reader reports as a problem. A writer
that cannot write leaves a mark (`harness.history.unrecorded`), which the reader reports too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Self

from harness.errors import RecordingFailed
from harness.history.names import worker_name
from harness.history.operation import Operation, OperationType
from harness.history.unrecorded import mark


class Recorder:
    """Appends operations to one file; one per process. Threads and tasks of the process may share it."""

    def __init__(self, path: Path, *, process: str) -> None:
        self.process = process
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._failed(os.strerror(error.errno or 0)) from None

    @classmethod
    def for_worker(cls, folder: Path) -> Self:
        """The recorder of this worker process in a run's history folder; records `hello` at once."""
        pid = os.getpid()
        name = worker_name(pid)
        recorder = cls(folder / f"{name}.jsonl", process=name)
        recorder.record(OperationType.INFO, "hello", pid=pid)
        return recorder

    def record(self, kind: OperationType, f: str, /, **value: Any) -> Operation:
        """Write one operation, stamped now; it survives SIGKILL of this process once this returns."""
        operation = Operation(time=time.monotonic_ns(), process=self.process, type=kind, f=f, value=value)
        self.append(operation)
        return operation

    def append(self, operation: Operation) -> None:
        """Write an operation unchanged, with its process name and time.

        Raises `RecordingFailed`, an `OSError`, if the disk is full; the history then has a mark that lines are missing.
        """
        line = operation.to_json().encode() + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise self._failed(os.strerror(error.errno or 0)) from None
        if written != len(line):  # the reader then reports a broken line, not a missing one
            raise self._failed(f"only {written} of {len(line)} bytes of an operation could be written")

    def close(self) -> None:
        """Close the file; recording afterwards raises `RecordingFailed`, also in a thread that waits for an answer."""
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _failed(self, why: str) -> RecordingFailed:
        mark(self.path.parent, f"{self.path.name}: {why}")
        return RecordingFailed(
            f"The history {self.path} cannot be written ({why}). Free some space, or name another --report folder."
        )
