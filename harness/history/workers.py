"""The lifetimes of worker processes, and the exits of their pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.history.faults import FaultWindow, injected_faults, kills
from harness.history.fields import whole
from harness.history.history import History
from harness.history.injection import InjectionKind


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLife:
    """One worker process; times are nanoseconds.

    `first` and `last` are its first and last `hello` or `run`. `ended` is the time of its end, by a kill or with a pool
    that got SIGTERM; None if the history does not show an end. `killed_by` is the fault that killed it.
    """

    process: str
    first: int
    last: int
    ended: int | None
    killed_by: FaultWindow | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolExit:
    """The end of a pool's own process at `time` (nanoseconds); `code` is negative for a signal."""

    pool: str
    time: int
    pid: int
    code: int


def worker_lives(history: History) -> Sequence[WorkerLife]:
    """Every process that recorded `hello` or `run`, in order of the first one."""
    return history.derive(_worker_lives)


def pool_exits(history: History) -> Sequence[PoolExit]:
    """Every exit of a pool, in order."""
    return history.derive(_pool_exits)


def _worker_lives(history: History) -> Sequence[WorkerLife]:
    seen: dict[str, tuple[int, int]] = {}
    for f in ("hello", "run"):
        for op in history.where(f):
            first, last = seen.get(op.process, (op.time, op.time))
            seen[op.process] = (min(first, op.time), max(last, op.time))
    stops = _stops(history)
    lives = [_life(history, process, first, last, stops) for process, (first, last) in seen.items()]
    return sorted(lives, key=lambda life: life.first)


def _stops(history: History) -> Mapping[str, Sequence[FaultWindow]]:
    """By worker, the stops of its pool."""
    found: dict[str, list[FaultWindow]] = {}
    for fault in injected_faults(history):
        for worker in fault.workers if fault.kind is InjectionKind.STOP else ():
            found.setdefault(worker, []).append(fault)
    return found


def _life(
    history: History, process: str, first: int, last: int, stops: Mapping[str, Sequence[FaultWindow]]
) -> WorkerLife:
    if (fault := kills(history).get(process)) is not None:
        ended = max(last, fault.start)
        return WorkerLife(process=process, first=first, last=last, ended=ended, killed_by=fault)
    stopped = {pid for stop in stops.get(process, ()) if stop.start >= first for pid in _pool(stop)}
    left = [one.time for one in pool_exits(history) if one.pid in stopped and one.time >= last]
    return WorkerLife(process=process, first=first, last=last, ended=min(left, default=None), killed_by=None)


def _pool(stop: FaultWindow) -> Sequence[int]:
    return stop.pids if stop.parent is None else (*stop.pids, stop.parent)


def _pool_exits(history: History) -> Sequence[PoolExit]:
    return [
        PoolExit(pool=op.process, time=op.time, pid=whole(op, "pid"), code=whole(op, "code"))
        for op in history.where("exit")
    ]
