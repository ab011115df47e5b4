"""What workers recorded after the end of their pool: nothing, if the pool waits for its workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness.history.faults import injected_faults
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.names import START, worker_name
from harness.history.operation import Operation, OperationType
from harness.history.workers import PoolExit, pool_exits

_BY_WORKERS = ("run", "effect", "report", "child")


class LateRecord(NamedTuple):
    """The last operation of a worker after the exit of its pool."""

    exit: PoolExit
    operation: Operation


def late_records(history: History) -> Mapping[int, LateRecord]:
    """By the pid of a pool that ended, the last operation of its workers after that end.

    Workers are those of the pool's start and those that its SIGTERM met: the history does not name others. A process
    that says hello after the exit is another one under the same process id.
    """
    return history.derive(_late_records)


def _late_records(history: History) -> Mapping[int, LateRecord]:
    pids: dict[int, set[int]] = {}
    for op in history.where(START, OperationType.OK):
        pids.setdefault(op.value.get("pid", 0), set()).update(op.value.get("pids") or ())
    for fault in injected_faults(history):
        if fault.kind is InjectionKind.STOP and fault.parent is not None:
            pids.setdefault(fault.parent, set()).update(fault.pids)
    ended = {
        worker_name(pid): one
        for one in pool_exits(history)
        for pid in pids.get(one.pid, ())
        if pid != one.pid
    }
    new = {
        op.process
        for op in history.where("hello")
        if op.process in ended and op.time > ended[op.process].time
    }
    found: dict[int, LateRecord] = {}
    for f in _BY_WORKERS:
        for op in history.where(f):
            one = ended.get(op.process)
            if one is None or op.time <= one.time or op.process in new:
                continue
            if one.pid not in found or found[one.pid].operation.time < op.time:
                found[one.pid] = LateRecord(one, op)
    return found
