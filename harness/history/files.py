"""The files of a history: writing, reading, and detecting that lines are missing.

A process that may be killed cannot write a last line, so a recorder's file may end after any line. Two files are
written when all processes have ended, and they reveal whole lines that were lost later:

    a saved history   begins with `begin` and ends with `end`, two lines of the process `history` that hold the number
                      of operations between them. A file without them is read as it is: recorders write such files, and
                      older versions of `History.save` did.
    a run's folder    has `seal.json`, the number of lines of each of its files after every process had ended. A folder
                      without it is read as it is.

The mark of a process that could not write (`harness.history.unrecorded`) is a problem of the history too.

The reader adds the `kind` of faults to histories that were recorded before
faults had one (`harness.history.injection`).
"""

from __future__ import annotations

import gc
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, repeat
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from harness.history.figures import counted
from harness.history.injection import with_kind
from harness.history.names import NEMESIS
from harness.history.operation import LAST_TIME, Operation, OperationType
from harness.history.unrecorded import reason

HISTORY, BEGIN, END = "history", "begin", "end"
SEAL = "seal.json"

_BLOCK = 1 << 20
_LINES_AT_ONCE = 2048
_BETWEEN = b',"\\u0000 between two lines",'
"""The separator between the lines of a batch. No recorder writes it.

If lines and separators do not alternate after parsing, one of the lines is not a single document.
"""
_SEPARATOR = json.loads(_BETWEEN.strip(b","))
_TYPES = {kind.value: kind for kind in OperationType}
_FIELDS = ("time", "process", "type", "f", "value")
_READ = [itemgetter(name) for name in _FIELDS]
_NEW: Callable[[type[Operation]], Operation] = object.__new__
_SET = [getattr(Operation, name).__set__ for name in _FIELDS]


@contextmanager
def uncollected() -> Iterator[None]:
    """Run the body without the cyclic garbage collector: a million operations then take half the time.

    The collector would traverse the whole history again and again while other objects are allocated, and none of them
    form cycles. Objects allocated meanwhile count as old afterwards: otherwise the next collection traverses them all.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # unfreezing would also release what other code froze
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def write(path: Path, operations: Sequence[Operation]) -> None:
    """Write operations to one file, between the two lines that hold their number."""
    first, last = (operations[0].time, operations[-1].time) if operations else (0, 0)
    with path.open("w", encoding="utf-8") as out:
        out.write(_mark(first, BEGIN, len(operations)) + "\n")
        for operation in operations:
            out.write(operation.to_json() + "\n")
        out.write(_mark(last, END, len(operations)) + "\n")


def _mark(time: int, f: str, operations: int) -> str:
    value = {"operations": operations}
    return Operation(time=time, process=HISTORY, type=OperationType.INFO, f=f, value=value).to_json()


def seal(folder: Path) -> None:
    """Record how many lines each history file of the folder has. All of its writers must have ended."""
    lines = {file.name: _lines(file) for file in sorted(folder.glob("*.jsonl"))}
    (folder / SEAL).write_text(json.dumps({"lines": lines}, indent=1) + "\n", encoding="utf-8")


def _lines(file: Path) -> int:
    """The number of complete lines of the file; a last line without its newline does not count."""
    with file.open("rb") as found:
        return sum(block.count(b"\n") for block in iter(lambda: found.read(_BLOCK), b""))


def read(path: Path) -> tuple[list[Operation], list[str]]:
    """The operations of a file, or of every `*.jsonl` of a folder, file by file, and the problems of the files."""
    operations: list[Operation] = []
    problems: list[str] = []
    ended: dict[str, int] = {}
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        reading = _Reading(name=file.name, operations=operations, problems=problems)
        reading.read(file)
        ended[file.name] = reading.ended
    if path.is_dir() and (path / SEAL).exists():
        problems += _broken_seal(path / SEAL, ended)
    if path.is_dir() and (why := reason(path)) is not None:
        problems.insert(0, f"operations are missing: {why}; free some space and run it again")
    if not operations:
        problems.append(f"{path} holds no operation")
    return operations, problems


def _broken_seal(path: Path, ended: Mapping[str, int]) -> Iterator[str]:
    try:
        sealed = json.loads(path.read_bytes())["lines"]
        wanted = {str(name): int(lines) for name, lines in sealed.items()}
    except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        yield f"{path.name} cannot be read, so missing lines cannot be detected: copy the folder again"
        return
    for name, lines in wanted.items():
        if name not in ended:
            yield f"{name} is missing: {path.name} lists it with {counted(lines, 'line')}"
        elif ended[name] != lines:
            what = "is the last whole line" if ended[name] < lines else "is past the last line of the run"
            yield f"{name}:{ended[name]} {what}: the file had {counted(lines, 'line')} when the run ended"
    for name in sorted(ended.keys() - wanted.keys()):
        yield f"{name} was added after the run had ended: {path.name} does not list it"


@dataclass(kw_only=True, slots=True)
class _Reading:
    """One file being read: `lines` so far, and how many of them `ended` with a newline.

    `begun` is the number of operations that its first line announces, `closed` the number of the line that ends it.
    """

    name: str
    operations: list[Operation]
    problems: list[str]
    lines: int = 0
    ended: int = 0
    begun: int | None = None
    closed: int = 0

    def read(self, file: Path) -> None:
        """Read all lines of the file, then report what is missing at its end."""
        with file.open("rb") as lines:
            while batch := list(islice(lines, _LINES_AT_ONCE)):
                first = self.lines + 1
                self.lines += len(batch)
                self.ended += len(batch) - (not batch[-1].endswith(b"\n"))
                found = _batch(batch)
                if found is None:
                    self._one_by_one(batch, first)
                elif HISTORY in found.processes:
                    for number, operation in enumerate(found.operations, start=first):
                        self._take(number, operation)
                elif NEMESIS in found.processes:
                    self.operations += map(with_kind, found.operations)
                else:
                    self.operations += found.operations
        if self.closed and self.closed != self.lines:
            self._complain(self.closed + 1, "follows the end of the history: use the file as it was saved")
        elif self.begun is not None and not self.closed:
            self._complain(
                self.lines,
                f"is the last line, but line 1 announces {counted(self.begun, 'operation')} and a line after "
                "them that ends the history: the file was cut, use the complete file",
            )

    def _one_by_one(self, lines: list[bytes], first: int) -> None:
        for number, line in enumerate(lines, start=first):
            if not line.endswith(b"\n"):
                self._complain(number, "is cut off: its writer ended while writing it")
                continue
            try:
                self._take(number, Operation.from_json(line))
            except ValueError as error:
                self._complain(number, str(error))

    def _take(self, number: int, operation: Operation) -> None:
        if operation.process != HISTORY or operation.f not in (BEGIN, END):
            self.operations.append(with_kind(operation))
            return
        announced = operation.value.get("operations")
        if type(announced) is not int:
            self._complain(number, f"is the {operation.f} of a history and has no number of operations")
        elif operation.f == BEGIN:
            if number != 1:
                self._complain(number, "begins another history: put each into a file of its own")
            self.begun = announced
        else:
            before = number - 1 - (self.begun is not None)
            if before != announced:
                lines = counted(before, "line", "come")
                wrong = f"ends a history of {counted(announced, 'operation')}, but {lines} before it"
                self._complain(number, f"{wrong}: lines were lost or added, use the file as it was saved")
            self.closed = number

    def _complain(self, number: int, what: str) -> None:
        self.problems.append(f"{self.name}:{number} {what}")


class _Batch(NamedTuple):
    """The operations of many lines, and the processes that recorded them."""

    operations: list[Operation]
    processes: Collection[str]


def _batch(lines: list[bytes]) -> _Batch | None:
    """The operations of many lines, parsed at once; None if something is wrong with any of them."""
    if not lines[-1].endswith(b"\n"):
        return None
    try:
        found = json.loads((b"[" + _BETWEEN.join(lines) + b"]").decode())
        return _operations(_alternating(found, len(lines)))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _operations(documents: list[dict[str, Any]]) -> _Batch:
    """The operations, filled field by field: no line of Python runs for each of a million operations."""
    times, processes, kinds, fs, values = ([*map(read, documents)] for read in _READ)
    if {*map(type, times)} != {int} or {*map(type, values)} != {dict}:
        raise TypeError("a time or a value is of the wrong type")
    if min(times) < -LAST_TIME or max(times) > LAST_TIME:
        raise ValueError("a time is that of no clock")
    processes = [*map(intern, processes)]
    columns: tuple[Iterable[Any], ...] = (
        times,
        processes,
        map(_TYPES.__getitem__, kinds),
        map(intern, fs),
        values,
    )
    operations = [*map(_NEW, repeat(Operation, len(documents)))]
    for put, column in zip(_SET, columns, strict=True):
        deque(map(put, operations, column), maxlen=0)
    return _Batch(operations, processes)


def _alternating(found: list[Any], lines: int) -> list[Any]:
    documents, between = found[::2], found[1::2]
    if len(documents) != lines or between.count(_SEPARATOR) != lines - 1:
        raise ValueError("the lines do not alternate with the separators")
    return documents
