"""Watches what workers and pools ask of the servers after an answer: tokens, leases at their end, and room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from harness.history import Operation
from harness.history.figures import NANOSECONDS
from harness.history.injection import INJECT
from harness.history.names import NEMESIS
from harness.simulation.plan import FaultKind
from harness.simulation.queue.books import Books, Holder
from harness.simulation.scheduler import Process

# Seconds from the death of a worker until its own pool has released its leases, where no fault is near.
RELEASED_WITHIN = 0.5
# Seconds from the last task of a worker until it leaves, and the least share of its tasks with which it does.
LEAVES_WITHIN, EARLIEST = 1.0, 0.9
# Seconds that a worker needs, after a lease and the pause between two renewals, to give up leases in silence.
GIVEN_UP_WITHIN = 0.75
# Seconds after the end of a fault within which it may delay a pool.
NEAR = 6.0
# What does not delay the release of another worker: deaths of others, and what strikes producers and services.
_ELSEWHERE = frozenset(
    {
        FaultKind.KILL_WORKER,
        FaultKind.KILL_PARENT,
        FaultKind.KILL_POOL,
        FaultKind.KILL_PRODUCER,
        FaultKind.PRODUCER_LOSES_REPLY,
        FaultKind.CANCEL,
        FaultKind.FAIL,
    }
)
_OF_RECORD = frozenset({FaultKind.CANCEL, FaultKind.FAIL})


class StartTokens:
    """After a refused start, a worker takes higher tokens than the fence of the row: it asks the queue for them."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self._refused: dict[tuple[str, str], tuple[int, int]] = {}  # worker, task: token, fence of the row

    def judge(self, refused: Sequence[tuple[Mapping[str, Any], int]]) -> None:
        """Judge the starts of one statement that were refused for the fences of their rows."""
        for start, _ in refused:
            token, fence = self._refused.get((start["worker"], start["id"]), (0, 0))
            if token < start["token"] <= fence:
                self.findings.append(
                    f"token: {start['worker']} starts {start['id']} under {start['token']}, and was refused for {fence}"
                )
        for start, fence in refused:
            self._refused[start["worker"], start["id"]] = start["token"], fence


class WorkerDeaths:
    """The deaths of workers, and when their leases were released: by its own pool at once, if no fault is near."""

    def __init__(self) -> None:
        self._deaths: dict[str, tuple[Process, int]] = {}  # worker: its parent, time in nanoseconds
        self._ends: dict[str, int] = {}  # of the parents
        self._released: dict[str, int] = {}

    def died(self, worker: str, parent: Process, now: int) -> None:
        """A worker ended, and its pool has to release its leases."""
        self._deaths[worker] = parent, now

    def pool_ended(self, parent: Process, now: int) -> None:
        """The process of a pool ended."""
        self._ends[parent.name] = now

    def released(self, worker: str, now: int) -> None:
        """The queue released what a worker had, and noted that it is gone."""
        self._released.setdefault(worker, now)

    def late(self, operations: Sequence[Operation], end: int) -> Iterator[str]:
        """The deaths after which the release was late, a sentence each; `end` is the time up to which is known."""
        faults = [
            (op.time, op.time + round((abs(op.value["seconds"]) + NEAR) * NANOSECONDS))
            for op in operations
            if op.process == NEMESIS and op.value.get("phase") == INJECT and op.f not in _ELSEWHERE
        ]
        for worker, (parent, died) in self._deaths.items():
            until = died + round(RELEASED_WITHIN * NANOSECONDS)
            if min(end, self._ends.get(parent.name, end)) < until or self._released.get(worker, end) <= until:
                continue
            if not any(start <= until and over >= died for start, over in faults):
                yield f"late-release: {worker} died, and its pool did not release its leases within {RELEASED_WITHIN} s"


class RefusedEnds:
    """A worker whose end of a run is refused, as the activity is over, gives its lease back: none has to expire."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, int], int] = {}  # the lease: when
        self._expired: list[tuple[tuple[str, int], int, int]] = []  # the lease, and both times

    def refused(self, lease: tuple[str, int], now: int) -> None:
        """The record refused an end under this lease: the id as the store has it, and the token."""
        self._refused.setdefault(lease, now)

    def expired(self, leases: Mapping[UUID, int], now: int) -> None:
        """A step found that these leases are over."""
        for task, token in leases.items():
            lease = task.hex, token
            if lease in self._refused:
                self._expired.append((lease, self._refused[lease], now))

    def kept(self, operations: Sequence[Operation]) -> Iterator[str]:
        """The leases that no fault kept a worker from giving back, a sentence each."""
        faults = [
            (op.time, op.time + round(abs(op.value["seconds"]) * NANOSECONDS))
            for op in operations
            if op.process == NEMESIS and op.value.get("phase") == INJECT and op.f not in _OF_RECORD
        ]
        for (task, token), since, until in self._expired:
            if not any(start <= until and over >= since for start, over in faults):
                yield f"kept-lease: {task} is over, and its worker let the lease {token} expire"


class WorkerTurnover:
    """A worker is replaced after its number of tasks, less a tenth of them at most; `leaves` once it has to stop.

    A worker whose threads run on may be replaced earlier.
    """

    def __init__(self, tasks: int) -> None:
        """`tasks` is the number after which a worker is replaced; 0 for any number."""
        self._tasks = tasks
        self._over: int | None = None  # since when it has ended so many, in nanoseconds
        self.leaves = False

    def after_round(self, finished: int, now: int, *, stalled_until: int) -> Iterator[str]:
        """Judge a worker that has ended so many tasks; it notices that only when its last stall is over."""
        if not 0 < self._tasks <= finished or self.leaves:
            self._over = None
            return
        self._over = max(now if self._over is None else self._over, stalled_until)
        if now - self._over > LEAVES_WITHIN * NANOSECONDS:
            self.leaves = True
            yield f"works on after {finished} tasks, and is to be replaced after {self._tasks}"

    def leaving(self, finished: int, *, asked: bool) -> Iterator[str]:
        """Judge that it leaves after so many tasks; `asked`: the plan has a reason for that."""
        self.leaves = True
        if not asked:
            yield "leaves, and nothing asks for it"
        elif finished < int(self._tasks * EARLIEST):
            yield f"leaves after {finished} tasks, and is to be replaced after {self._tasks}"


class SilentWorkers:
    """A worker that waits for Postgres for longer than a lease releases the leases of tasks that have not begun."""

    def __init__(self, lease_seconds: float) -> None:
        self._within = round((lease_seconds * 4 / 3 + GIVEN_UP_WITHIN) * NANOSECONDS)
        self._held: Mapping[UUID, Holder] = {}
        # By lease: the PID of the worker, from when to when in nanoseconds; None while it has it.
        self._leases: dict[tuple[str, int], tuple[str, int, int | None]] = {}

    def note(self, books: Books, now: int) -> None:
        """Note the leases after a call; `now` is in nanoseconds."""
        if books.holder == self._held:
            return
        for task, holder in self._held.items():
            if books.holder.get(task) != holder:
                pid, since, _ = self._leases[str(task), holder.token]
                self._leases[str(task), holder.token] = pid, since, now
        for task, holder in books.holder.items():
            if self._held.get(task) != holder:
                pid = books.workers.get(holder.worker, "||").split("|")[1]
                self._leases[str(task), holder.token] = pid, now, None
        self._held = dict(books.holder)

    def kept(self, operations: Sequence[Operation], end: int) -> Iterator[str]:
        """The leases that were kept in silence for too long, where no other fault was near, a sentence each."""
        faults = [op for op in operations if op.process == NEMESIS and op.value.get("phase") == INJECT]
        silences = [fault for fault in faults if fault.f == FaultKind.POSTGRES_SILENT]
        began: dict[tuple[str, int], int] = {}
        for op in operations:
            if op.f == "run":
                began.setdefault((op.value["activity"], op.value["fence"]), op.time)
        for fault in silences:
            over = fault.time + round(fault.value["seconds"] * NANOSECONDS)
            for lease, (pid, since, until) in self._leases.items():
                start = max(since, fault.time)
                last = start + self._within
                if pid != str(fault.value["pids"][0]):
                    continue
                if began.get(lease, last) < last or last > over or not last < (until or end):
                    continue
                if not any(_touches(one, start, last) for one in faults if one is not fault):
                    yield f"silence: the lease {lease} is kept by a worker that waits for Postgres"


def _touches(fault: Operation, start: int, end: int) -> bool:
    return (
        fault.time <= end and fault.time + round((abs(fault.value["seconds"]) + NEAR) * NANOSECONDS) >= start
    )
