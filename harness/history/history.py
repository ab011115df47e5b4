"""The evidence: operations with their times, recorded so that a killed writer loses no completed line.

An operation is written twice, once when it begins (`invoke`) and once when its outcome is known: `ok` it
took effect, `fail` it certainly did not, `info` nobody knows. Each line is one `write(2)` to a file opened
with O_APPEND, so it is in the kernel before the next statement runs: SIGKILL of the writer can at most
leave a last line without its newline, which the reader reports instead of guessing. Every process has a
file of its own, so lines never interleave.

Times are CLOCK_MONOTONIC in nanoseconds, which all processes of one host share and no clock step moves.

The vocabulary of `f`, by the process that writes it:

    client      enqueue     value: task (number), activity (its id, known from `ok` on), lock and priority if any
    worker-PID  run         value: task, activity, attempt, fence, pid, lock (its lock key, if it has one)
    worker-PID  effect      value: task, activity, fence   (ok: the outside took it, fail: it refused the fence)
    worker-PID  report      value: task, activity, fence, percentage   (info; progress that the handler reports)
    worker-PID  hello       value: pid             (type info; the process imported its handlers)
    nemesis     FAULT       value: fault (running number), phase (inject | heal), and what was hit: pids, pool;
                                        a FAULT named `kill-...` killed its pids, any other left them alive
    pool-N      exit        value: pid, code       (type info; the pool's own process ended)
    postgres    transition  value: task, activity, fence, n, status, percentage, at   (the store's own log, at
                                        the end; percentage is null in entries without one)
    postgres    record      value: task, activity, status, attempt, fence (the store's last word on a task)
    redis       queue       value: ready, leased, scheduled, parked, dead, known, held  (what the queue holds at
                                        the end; held names the activities of it that are not dead letters)
    runner      breakdown   value: why             (type info; a part of the run that could not be carried out)
    history     begin, end  value: operations      (type info; the first and the last line of a saved history, around
                                        so many operations; they are no operations of it, see `harness.history.files`)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, TypeVar

from harness.history.files import read, seal, uncollected, write
from harness.history.operation import Operation, OperationType

__all__ = [
    "BREAKDOWN",
    "RUNNER",
    "History",
    "Operation",
    "OperationType",
    "Recorder",
    "seal",
    "uncollected",
]

RUNNER, BREAKDOWN = "runner", "breakdown"
"""Who says that a run broke down, and as what: no history that has one is whole."""


class Recorder:
    """Appends operations to one file; one per process. Threads and tasks of the process may share it."""

    def __init__(self, path: Path, *, process: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.process = process
        self.path = path

    @classmethod
    def for_worker(cls, folder: Path) -> Self:
        """The recorder of this worker process inside a run's history folder; says `hello` at once."""
        pid = os.getpid()
        recorder = cls(folder / f"worker-{pid}.jsonl", process=f"worker-{pid}")
        recorder.record(OperationType.INFO, "hello", pid=pid)
        return recorder

    def record(self, kind: OperationType, f: str, /, **value: Any) -> Operation:
        """Write one operation, stamped now; it survives SIGKILL of this process once this returns."""
        operation = Operation(time=time.monotonic_ns(), process=self.process, type=kind, f=f, value=value)
        self.append(operation)
        return operation

    def append(self, operation: Operation) -> None:
        """Write an operation as it is, for witnesses that bring their own process name."""
        line = operation.to_json().encode() + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):  # a full disk: the reader must see a broken line rather than none
            raise OSError(
                f"{self.path}: only {written} of {len(line)} bytes of an operation could be written"
            )

    def close(self) -> None:
        """Close the file; recording afterwards raises `OSError`."""
        os.close(self._fd)


Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class History:
    """Operations in order of time, and what was wrong with the files they were read from."""

    operations: tuple[Operation, ...]
    problems: tuple[str, ...] = ()
    _read: dict[Callable[[History], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, operations: Iterable[Operation], problems: Iterable[str] = ()) -> Self:
        """Build a history; the operations are put in order of time, equal times keep their order."""
        return cls(tuple(sorted(operations, key=attrgetter("time"))), tuple(problems))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a history file, or every `*.jsonl` of a folder. Bad lines, and lines that are known to be missing,
        become `problems` that name file and line.
        """
        with uncollected():
            return cls.of(*read(path))

    def save(self, path: Path) -> None:
        """Write all operations to one file, a line each, between two lines that say how many they are: what is cut
        off or left out of the file later is noticed by whoever reads it.
        """
        write(path, self.operations)

    def derive(self, reading: Callable[[History], Read]) -> Read:
        """What a pure function reads out of this history; worked out once, however many checkers ask.

        The answer is shared, so nobody may change it. `reading` has to be a function of a module: what is made
        anew for each call would be kept anew for each.
        """
        if reading not in self._read:
            self._read[reading] = reading(self)
        found: Read = self._read[reading]
        return found

    def where(self, f: str, *kinds: OperationType) -> Iterator[Operation]:
        """Operations of one `f`, in order; of all types when none is named."""
        found = self.derive(_by_f).get(f, ())
        return iter(found) if not kinds else (op for op in found if op.type in kinds)

    def by_process(self, process: str) -> Iterator[Operation]:
        """Operations that one process wrote, in order."""
        return (op for op in self.operations if op.process == process)

    def __len__(self) -> int:
        return len(self.operations)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)


def _by_f(history: History) -> Mapping[str, Sequence[Operation]]:
    found: dict[str, list[Operation]] = {}
    for operation in history.operations:
        found.setdefault(operation.f, []).append(operation)
    return found
