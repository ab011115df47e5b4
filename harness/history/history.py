"""Histories: the operations of a run in order of time, and the vocabulary of what processes record.

An operation is recorded twice: when it begins (`invoke`) and when its outcome is known. `ok`: it took effect. `fail`:
it certainly did not. `info`: the outcome is unknown. Times are CLOCK_MONOTONIC in nanoseconds, which all processes of
one host share and no clock step moves.

The vocabulary of `f`, by the process that records it:

    client      enqueue     value: task (number), activity (its id, known from `ok` on), lock and priority if any,
                                   intended (when the task was due, on the clock of `time`; in the invoke),
                                   delay (seconds; if it has one), name (what an own application calls the task; in
                                   the answer)
    worker-PID  run         value: task, activity, attempt, fence, pid, lock (its lock key, if it has one), result
                                   (what the handler returned, as JSON, if it says so; in ok)
    worker-PID  effect      value: task, activity, fence   (ok: the outside took it, fail: it refused the fence)
    worker-PID  report      value: task, activity, fence, percentage   (info; progress that the handler reports)
    worker-PID  hello       value: pid             (info; the process imported its handlers)
    nemesis     FAULT       value: fault (running number), phase (inject | heal), kind, and what was hit: pids, pool,
                                   pid (the pool's own process), seconds (how long it lasts); FAULT is its name
    pool-N      start       value: pid, pids       (the harness starts the pool; ok: its workers are up)
    pool-N      stop, kill  value: pid, seconds    (info; the harness stops the pool at the end, or kills it)
    pool-N      exit        value: pid, code       (info; the pool's own process ended)
    postgres    transition  value: task, activity, fence, n, status, percentage, at   (the store's own log, at
                                   the end; percentage is null in entries without one)
    postgres    record      value: task, activity, status, attempt, fence, and if known failures (of its handler) and
                                   result (the store's final record of a task)
    postgres    copy        value: of (transition, record or child), fault (its number), and the fields of that   (info;
                                   what a restored backup holds)
    redis       result      value: task, activity, result (info; what a caller reads outside of the record)
    redis       queue       value: ready, leased, scheduled, parked, dead, known, held, orphans  (the content of the
                                   queue at the end; held names its activities that are not dead letters, orphans
                                   what it holds for no task and no worker)
    worker-PID, postgres
                child       value: activity, name, and the fields of `run` or `record`   (a task that a handler of an
                                   own application enqueued: it has no number, and `run` and `record` leave it out),
                                   scheduled (true if a schedule enqueued it, or a run of one)
    application invariant   value: name, and found (what its source gave), broken (the tasks that break it, by task the
                                   reason) or error   (info; after the drain, see `harness.testing`)
    runner      promises    value: what the system under test promises (info; `harness.history.promises`)
    runner      checkers    value: scenario, summary, checkers   (info; the checkers of the run with their settings)
    runner      phase       value: phase           (a phase of the run begins and ends; `harness.history.ending`)
    runner      drain       value: unfinished, patience, quiet  (info; how the drain ended)
    runner      breakdown   value: why, phase      (info; a part of the run that could not be carried out)
    runner      deadlocks   value: count, source, details, why  (info; deadlocks of the database during the run)
    runner      load        value: the plan and the start of the load (invoke), noticed (ok; how late the generator
                                   noticed arrivals), see `harness.load.load_record`
    gauges      gauges      value: levels, totals, epochs and notes of a source, second (info; what a load uses, see
                                   `harness.load.gauge_record`), or logs (the errors in the logs of the servers)
    meter       meter, model-request, tool-run
                            value: what a simulated LLM endpoint billed (info; `harness.llm.metering`)
    runner      clock       value: wall            (info; the time of day in ISO 8601, to compare logs with)
    machine     machine     value: load, spin, delay  (info; how well the machine keeps up; `harness.history.machine`)
    history     begin, end  value: operations      (info; the first and the last line of a saved history, with the
                                   number of operations between them; see `harness.history.files`)

Any other `f` is unknown: the checker `evidence` reports it, unless a checker of the run declares that it reads it
(`harness.checkers.reads`). The nemesis may record a fault under any name.

The `kind` of a fault, in each injection (`harness.history.injection`):

    kill        the processes of pids are dead (SIGKILL)
    stop        a pool got SIGTERM; pids are its workers
    pause       processes or a server stand still for a while
    disconnect  connections fail, or a request or a reply is lost or late
    data-loss   a server loses data
    clock       a server's clock changes
    cancel      a client cancels a task
    other       anything else

Older histories lack the field: the reader adds it from the name of the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, TypeVar

from harness.history.files import read, uncollected, write
from harness.history.names import NEMESIS, VOCABULARY
from harness.history.operation import Operation, OperationType

Reading = TypeVar("Reading")


@dataclass(frozen=True, slots=True)
class History:
    """Operations in order of time, and the problems of the files from which they were read.

    `declared` names the `f` that checkers of a workload read besides those of the harness (`harness.checkers.reads`).
    """

    operations: tuple[Operation, ...]
    problems: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()
    _readings: dict[Callable[[History], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, operations: Iterable[Operation], problems: Iterable[str] = ()) -> Self:
        """Build a history; operations are sorted by time, equal times keep their order."""
        return cls(tuple(sorted(operations, key=attrgetter("time"))), tuple(problems))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a history file, or every `*.jsonl` of a folder.

        Bad lines, and lines that are known to be missing, become `problems` that name file and line.
        """
        with uncollected():
            return cls.of(*read(path))

    def save(self, path: Path) -> None:
        """Write all operations to one file, between two lines that hold their number.

        A reader of the file notices lines that were cut off or left out later.
        """
        write(path, self.operations)

    def derive(self, reading: Callable[[History], Reading]) -> Reading:
        """The result of a pure function of this history, computed once for all callers.

        Callers share the result and must not change it. `reading` is the key of the cache, so it has to be a function
        at module level: a lambda or a closure would be a new key in each call.
        """
        if reading not in self._readings:
            self._readings[reading] = reading(self)
        found: Reading = self._readings[reading]
        return found

    def where(self, f: str, *kinds: OperationType) -> Iterator[Operation]:
        """Operations of one `f`, in order; of all types if none is given."""
        found = self.derive(_by_f).get(f, ())
        return iter(found) if not kinds else (op for op in found if op.type in kinds)

    def undeclared(self) -> Mapping[str, Sequence[Operation]]:
        """By `f`, the operations that are neither of the harness's vocabulary nor declared nor of the nemesis."""
        known = VOCABULARY | self.declared
        strange = {f: found for f, found in self.derive(_by_f).items() if f not in known}
        others = {f: [op for op in found if op.process != NEMESIS] for f, found in strange.items()}
        return {f: found for f, found in others.items() if found}

    def by_process(self, process: str) -> Iterator[Operation]:
        """Operations that one process recorded, in order."""
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
