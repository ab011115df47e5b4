"""A history as pictures need it: bars, faults, lives of workers and pool exits, in seconds since the start.

A run whose outcome was never written ends where its worker did: at the fault that killed the worker's process,
if the process wrote nothing afterwards, else at the end of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.history import History, Operation, OperationType
from harness.report.faults import FaultWindow, fault_windows

NANOSECONDS = 1e9
WITNESSES = frozenset({"postgres", "redis"})
# A fault is logged by another process than its victim, whose last words may carry a later stamp.
LAST_WORDS = 0.25


class BarOutcome(StrEnum):
    """How a run or a submission ended: it took effect, it certainly did not, or nobody knows."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One `run` of a task in a worker, or one submission by the client; times are seconds since the start.

    `recorded` is False where no outcome was ever written; `killed_by` is then the number of the fault, if any.
    """

    process: str
    task: int | None
    start: float
    end: float
    outcome: BarOutcome
    recorded: bool = True
    killed_by: int | None = None
    activity: str | None = None
    attempt: int | None = None
    fence: int | None = None

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLane:
    """The life of one worker process, from its first to its last sign; `killed_by` is a fault's number.

    `gone` is True where it is known to have ended, killed or together with its pool.
    """

    process: str
    born: float
    ended: float
    gone: bool = False
    killed_by: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolExit:
    """The end of a pool's own process; `code` is negative for a signal."""

    pool: str
    at: float
    code: int | None
    pid: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything the pictures of one run are drawn from; `seconds` is the right edge of the time axis."""

    seconds: float
    runs: tuple[Bar, ...]
    submissions: tuple[Bar, ...]
    workers: tuple[WorkerLane, ...]
    faults: tuple[FaultWindow, ...]
    exits: tuple[PoolExit, ...]


def gather(history: History) -> Evidence:
    """Read the evidence out of a history; what a picture cannot show (an unknown `f`) is passed over."""
    live = [op for op in history if op.process not in WITNESSES]
    begin = live[0].time if live else 0
    end = (live[-1].time - begin) / NANOSECONDS if live else 0.0
    faults = fault_windows(history, begin)
    exits = tuple(_exits(live, begin))
    workers = _workers(live, faults, exits, begin)
    fates = {worker.process: worker for worker in workers}
    return Evidence(
        seconds=max(end, 1e-3),
        runs=_bars((op for op in live if op.f == "run"), begin, end, fates),
        submissions=_bars((op for op in live if op.f == "enqueue"), begin, end, {}),
        workers=workers,
        faults=faults,
        exits=exits,
    )


def _workers(
    live: Sequence[Operation], faults: Sequence[FaultWindow], exits: Sequence[PoolExit], begin: int
) -> tuple[WorkerLane, ...]:
    seen: dict[str, list[Operation]] = defaultdict(list)
    for op in live:
        if op.f in {"hello", "run"}:
            seen[op.process].append(op)
    return tuple(_worker(process, signs, faults, exits, begin) for process, signs in seen.items())


def _worker(
    process: str,
    signs: Sequence[Operation],
    faults: Sequence[FaultWindow],
    exits: Sequence[PoolExit],
    begin: int,
) -> WorkerLane:
    born, last = ((signs[i].time - begin) / NANOSECONDS for i in (0, -1))
    pid = next((number(op, "pid") for op in signs if number(op, "pid") is not None), None)
    for fault in (f for f in faults if pid in f.pids and f.start >= born):
        if fault.kills and last <= fault.start + LAST_WORDS:
            at = max(last, fault.start)
            return WorkerLane(process=process, born=born, ended=at, gone=True, killed_by=fault.number)
        left = next((gone.at for gone in exits if gone.pid in fault.pids and gone.at >= last), None)
        if not fault.kills and left is not None:
            return WorkerLane(process=process, born=born, ended=left, gone=True)
    return WorkerLane(process=process, born=born, ended=last)


def _bars(ops: Iterable[Operation], begin: int, end: float, fates: dict[str, WorkerLane]) -> tuple[Bar, ...]:
    open_: dict[tuple[str, object], list[Operation]] = defaultdict(list)
    bars: list[Bar] = []
    for op in ops:
        key = (op.process, op.value.get("task", op.value.get("activity")))
        if op.type is OperationType.INVOKE:
            open_[key].append(op)
        elif open_[key]:
            bars.append(_closed(open_[key].pop(0), op, begin))
    waiting = (op for ops_ in open_.values() for op in ops_)
    bars.extend(_unfinished(op, begin, end, fates.get(op.process)) for op in waiting)
    return tuple(sorted(bars, key=lambda bar: bar.start))


def _closed(invoke: Operation, outcome: Operation, begin: int) -> Bar:
    kind = {OperationType.OK: BarOutcome.OK, OperationType.FAIL: BarOutcome.FAIL}.get(
        outcome.type, BarOutcome.UNKNOWN
    )
    return Bar(
        process=invoke.process,
        task=number(invoke, "task"),
        start=(invoke.time - begin) / NANOSECONDS,
        end=(outcome.time - begin) / NANOSECONDS,
        outcome=kind,
        activity=text(outcome, "activity") or text(invoke, "activity"),
        attempt=number(invoke, "attempt"),
        fence=number(invoke, "fence"),
    )


def _unfinished(invoke: Operation, begin: int, end: float, worker: WorkerLane | None) -> Bar:
    start = (invoke.time - begin) / NANOSECONDS
    return Bar(
        process=invoke.process,
        task=number(invoke, "task"),
        start=start,
        end=max(start, worker.ended if worker is not None and worker.gone else end),
        outcome=BarOutcome.UNKNOWN,
        recorded=False,
        killed_by=worker.killed_by if worker is not None else None,
        activity=text(invoke, "activity"),
        attempt=number(invoke, "attempt"),
        fence=number(invoke, "fence"),
    )


def _exits(live: Iterable[Operation], begin: int) -> Iterable[PoolExit]:
    for op in live:
        if op.f == "exit":
            yield PoolExit(
                pool=op.process,
                at=(op.time - begin) / NANOSECONDS,
                code=number(op, "code"),
                pid=number(op, "pid"),
            )


def number(op: Operation, key: str) -> int | None:
    """A whole number of an operation's value, None where it is missing or something else."""
    value = op.value.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(op: Operation, key: str) -> str | None:
    """A value of an operation as text, None where it is missing."""
    value = op.value.get(key)
    return None if value is None else str(value)
