"""The lifetimes of worker processes, and the starts and exits of their pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from harness.history.faults import FaultWindow, injected_faults, kills
from harness.history.fields import optional_whole, whole
from harness.history.figures import seconds
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.names import KILL, START, STOP, worker_name
from harness.history.operation import Operation, OperationType
from harness.history.promises import promises


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


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolStart:
    """A start of a pool by the harness, at `requested` (nanoseconds).

    `took` is in seconds, None if its workers were never up.
    """

    pool: str
    requested: int
    took: float | None


def pool_starts(history: History) -> Sequence[PoolStart]:
    """Every start of a pool that the harness requested, in order."""
    return history.derive(_pool_starts)


def stopped_pools(history: History) -> Mapping[int, Operation]:
    """By pid, the request by which the harness stopped a pool at the end of the run."""
    return {whole(op, "pid"): op for op in history.where(STOP)}


def killed_pools(history: History) -> Mapping[int, Operation]:
    """By pid, the SIGKILL by which the harness ended a pool that had not ended by itself."""
    return {whole(op, "pid"): op for op in history.where(KILL)}


def accepted_codes(history: History, one: PoolExit) -> Set[int]:
    """The codes with which this pool may end: those that the system promises after SIGTERM, and 0 without one."""
    made = promises(history)
    return {0} if made is None or not got_sigterm(history, one) else made.exit_codes


def got_sigterm(history: History, one: PoolExit) -> bool:
    """Whether a fault or the harness sent SIGTERM to the pool before it ended."""
    signal = _terminated(history).get(one.pid, stopped_pools(history).get(one.pid))
    return signal is not None and signal.time <= one.time


def first_worker_up(history: History, since: int, *, without: Set[str]) -> int:
    """When another worker or pool was up to run a task of the processes `without`: not before `since` (nanoseconds).

    A worker is up from its `hello` until it ends or its pool gets SIGTERM; one without `hello` counts as up from
    the beginning. A pool is up from its start until then, even if a fault killed its workers: to replace them is
    part of the recovery. `since` if the history shows no worker and no pool that was up later.
    """
    up = next_worker_up(history, since, without=without)
    return since if up is None else up


def next_worker_up(history: History, since: int, *, without: Set[str]) -> int | None:
    """As `first_worker_up`; None if the history shows no other worker and no other pool from `since` on."""
    others = [one for one in history.derive(_present) if one.process not in without]
    if any(one.first <= since and (one.left is None or one.left > since) for one in others):
        return since
    return min((one.first for one in others if one.first > since), default=None)


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


class _Presence(NamedTuple):
    """From when until when a worker, or the parent process of a pool, could take tasks over (nanoseconds)."""

    process: str
    first: int
    left: int | None


def _present(history: History) -> Sequence[_Presence]:
    greeted, stops = {op.process for op in history.where("hello")}, _stops(history)
    found = []
    for life in worker_lives(history):
        stopped = [stop.start for stop in stops.get(life.process, ())]
        left = min([*stopped, *([] if life.ended is None else [life.ended])], default=None)
        found.append(_Presence(life.process, life.first if life.process in greeted else 0, left))
    ended = {one.pid: one.time for one in pool_exits(history)}
    terminated = {pid: stop.time for pid, stop in _terminated(history).items()}
    for op in history.where(START, OperationType.OK):
        if (pid := optional_whole(op, "pid")) is not None:
            left = min((times[pid] for times in (ended, terminated) if pid in times), default=None)
            found.append(_Presence(worker_name(pid), op.time, left))
    return found


def _terminated(history: History) -> Mapping[int, Operation]:
    """By pid, the first fault that sent SIGTERM to a pool."""
    return {
        fault.parent: fault.injection
        for fault in reversed(injected_faults(history))
        if fault.kind is InjectionKind.STOP and fault.parent is not None
    }


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


def _pool_starts(history: History) -> Sequence[PoolStart]:
    up = {op.process: op.time for op in history.where(START, OperationType.OK)}
    return [
        PoolStart(
            pool=op.process,
            requested=op.time,
            took=seconds(up[op.process] - op.time) if op.process in up else None,
        )
        for op in history.where(START, OperationType.INVOKE)
    ]
