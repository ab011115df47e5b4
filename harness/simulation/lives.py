"""Six canonical lives of a task, as plans without faults by chance, and every fault at each of their calls."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from harness.history.figures import NANOSECONDS, seconds
from harness.simulation.call_faults import TRANSACTION, CallPoint
from harness.simulation.plan import FaultKind, Plan, PlannedTask, SimulatedFault
from harness.targets.promised import CANCELED_WITHIN_SECONDS

# Seconds: longer than a lease; until a late request arrives, amid the next round of a pool; until a server answers
# again; what a failover loses.
STALLED, LATE, AWAY, LOST = 4.0, 1.02, 1.0, 0.05
# Calls that change nothing in Redis.
READS = frozenset(
    {"registered", "announced", "leases-of", "known", "leases", "dead-reasons", "depth", "result"}
)
# When the task arrives, after the start of the pool.
ARRIVES = 0.3
# The work of a task that is canceled: a cancel that never arrives shows, also after a fault.
CANCELED_WORK = 2 * CANCELED_WITHIN_SECONDS


def _life(*tasks: PlannedTask, faults: Sequence[SimulatedFault] = (), workers: int = 1) -> Plan:
    return Plan(seed=1, pools=1, workers=workers, tasks=tasks, faults=tuple(faults))


def _task(number: int = 1, *, work: float = 0.05, failures: int = 0, lock: str | None = None) -> PlannedTask:
    return PlannedTask(number=number, at=ARRIVES, work=work, failures=failures, lock=lock)


LIVES: Mapping[str, Plan] = MappingProxyType(
    {
        "plain": _life(_task()),
        "retry": _life(_task(failures=1)),
        "cancel": _life(
            _task(work=CANCELED_WORK), faults=[SimulatedFault(kind=FaultKind.CANCEL, at=0.4, victim=1)]
        ),
        "lock": _life(_task(lock="a"), _task(2, lock="a"), workers=2),
        "delayed": _life(PlannedTask(number=1, at=ARRIVES, work=0.05, delay=0.5)),
        "shutdown": _life(_task(work=0.3), faults=[SimulatedFault(kind=FaultKind.TERMINATE_POOL, at=0.4)]),
    }
)
"""By name, the life of one task, or of two with one lock key."""


def strikes(points: Sequence[CallPoint], *, since: int = 0) -> Iterator[SimulatedFault]:
    """Every fault at every point from `since` on, without those that are equal to another one.

    An outage is felt from the first call that it refuses, so it begins at a call of its server. Postgres never gets a
    late request, which is a lost one. After a call that only reads, a death or a lost reply is what it is before. The
    contents of Redis are the same until it serves the next call, so it loses them, or what came after some moment, only
    once in between.
    """
    lost, served = set[object](), [point.at for point in points if point.after and _is_redis(point)]
    for number in range(since, len(points)):
        point = points[number]
        for fault in strikes_at(number, point):
            if fault.kind is FaultKind.REDIS_FORGETS:
                what: object = bisect_right(served, point.at)
            elif fault.kind is FaultKind.REDIS_FAILS_OVER:
                what = bisect_right(served, point.at), bisect_right(served, round(fault.at * NANOSECONDS))
            elif _is_own(fault.kind, point):
                yield fault
                continue
            else:
                continue
            if what not in lost:
                lost.add(what)
                yield fault


def _is_own(kind: FaultKind, point: CallPoint) -> bool:
    """Whether no fault of another kind or at another point is equal to that of this kind at this point."""
    if kind is FaultKind.REDIS_AWAY:
        return _is_redis(point)
    if kind is FaultKind.POSTGRES_AWAY:
        return not _is_redis(point)
    reads = point.request in READS
    if kind is FaultKind.LATE_REQUEST:
        return _is_redis(point) and not reads
    return not (reads and point.after and kind is not FaultKind.STALL_WORKER)


def _is_redis(point: CallPoint) -> bool:
    return point.request != TRANSACTION


def strikes_at(number: int, point: CallPoint) -> Iterator[SimulatedFault]:
    """Every fault at the point of this number."""
    for kind, lasts in (
        *_of_process(point.process.name),
        *_of_call(after=point.after),
        *_of_servers(point),
    ):
        at = max(0.0, seconds(point.at) - LOST) if kind is FaultKind.REDIS_FAILS_OVER else 0.0
        yield SimulatedFault(kind=kind, at=at, after=point.after, seconds=lasts, point=number)


def _of_process(name: str) -> Sequence[tuple[FaultKind, float]]:
    if name.startswith("producer"):
        return ((FaultKind.KILL_PRODUCER, 0.0),)
    if "/" in name:
        return ((FaultKind.KILL_WORKER, 0.0), (FaultKind.STALL_WORKER, STALLED))
    return ((FaultKind.KILL_PARENT, 0.0),) if name.startswith("pool") else ()


def _of_call(*, after: bool) -> Sequence[tuple[FaultKind, float]]:
    if after:
        return ((FaultKind.LOSE_REPLY, 0.0),)
    return ((FaultKind.LOSE_REQUEST, 0.0), (FaultKind.LATE_REQUEST, LATE))


def _of_servers(point: CallPoint) -> Sequence[tuple[FaultKind, float]]:
    # Before and after the work of a server are one moment for the other one.
    if not point.after:
        return ((FaultKind.REDIS_AWAY, AWAY), (FaultKind.POSTGRES_AWAY, AWAY))
    return ((FaultKind.REDIS_FORGETS, 0.0), (FaultKind.REDIS_FAILS_OVER, 0.0))
