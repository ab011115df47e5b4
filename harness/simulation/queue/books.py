"""The contents of a queue in memory, and the operations that keep them consistent, as lua/common.lua does over Redis.

No lock and no clock of its own; `harness.simulation.queue.memory_queue` has both. Times are milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple
from uuid import UUID

from agentexec.queue.keys import PRIORITY_LEVELS
from agentexec.queue.protocol import Revocations

WAKE_TOKENS = 64
KEEP_GONE_MS = 24 * 3600 * 1000
ALONE_AFTER = 2

Reserved = UUID | Literal["quiet"] | None


class Ordered:
    """Ids in the order of a score, then of the id, like a sorted set of Redis."""

    def __init__(self) -> None:
        self.scores: dict[UUID, int] = {}
        self._line: list[tuple[int, UUID]] = []

    def add(self, task_id: UUID, score: int) -> None:
        """Add an id, or change its score."""
        self.remove(task_id)
        self.scores[task_id] = score
        insort(self._line, (score, task_id))

    def remove(self, task_id: UUID) -> None:
        """Remove an id, if it is present."""
        score = self.scores.pop(task_id, None)
        if score is not None:
            del self._line[bisect_left(self._line, (score, task_id))]

    def copied(self) -> Ordered:
        """The same ids and scores, to be changed apart."""
        other = Ordered()
        other.scores, other._line = self.scores.copy(), self._line.copy()
        return other

    def until(self, score: int, limit: int) -> list[UUID]:
        """The first ids, at most `limit`, whose score is not above `score`."""
        return [task_id for number, task_id in self._line[:limit] if number <= score]

    def first(self) -> int | None:
        """The lowest score; None if there is no id."""
        return self._line[0][0] if self._line else None

    def items(self) -> list[tuple[int, UUID]]:
        """Scores and ids in order."""
        return list(self._line)

    def __iter__(self) -> Iterator[UUID]:
        return iter([task_id for _, task_id in self._line])

    def __len__(self) -> int:
        return len(self._line)


class Job(NamedTuple):
    """Priority level and payload of a task."""

    level: int
    payload: bytes


class Holder(NamedTuple):
    """The holder of a lease."""

    token: int
    worker: str


class Step(NamedTuple):
    """The last step of a worker, for its replay: claims (id, token), accepted finishes, expired leases.

    `reserved` is the task that the worker runs alone, or "quiet" for one that becomes empty to run one.
    """

    nonce: str
    claims: tuple[tuple[UUID, int], ...]
    accepted: tuple[bool, ...]
    expired: Revocations
    reserved: Reserved = None


@dataclass(kw_only=True, slots=True)
class Books:
    """The contents of one queue. The names are those of `agentexec.queue.keys.QueueKeys`."""

    job: dict[UUID, Job] = field(default_factory=dict)
    ready: tuple[deque[UUID], ...] = field(
        default_factory=lambda: tuple(deque[UUID]() for _ in range(PRIORITY_LEVELS))
    )
    sched: Ordered = field(default_factory=Ordered)
    lease: Ordered = field(default_factory=Ordered)
    holder: dict[UUID, Holder] = field(default_factory=dict)
    dlq: Ordered = field(default_factory=Ordered)
    reason: dict[UUID, str] = field(default_factory=dict)
    crash: dict[UUID, int] = field(default_factory=dict)
    cancel: set[UUID] = field(default_factory=set)
    part: dict[UUID, str] = field(default_factory=dict)
    busy: dict[str, UUID] = field(default_factory=dict)
    parked: defaultdict[str, deque[UUID]] = field(default_factory=lambda: defaultdict(deque))
    suspect: dict[UUID, tuple[int, int]] = field(default_factory=dict)  # deaths, the token at the last one
    alone: Ordered = field(default_factory=Ordered)
    names: dict[tuple[str, str], int] = field(default_factory=dict)  # name, fingerprint
    names_changed: str = ""
    unknown: dict[UUID, int] = field(default_factory=dict)
    quiet: tuple[int, str] = (0, "")  # until when which worker lets itself become empty
    last: dict[str, Step] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    workers: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    wake: int = 0
    fence: int = 0
    turn: int = 0
    server: int = 0  # the one that the pools know
    epoch: str | None = None
    rebuilding: str | None = None
    store: str | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def copied(self) -> Books:
        """The same contents, to be changed apart."""
        return Books(**{one.name: _copied(getattr(self, one.name)) for one in fields(self)})

    def max_crashes(self, own: int) -> int:
        """The limit that the pools agreed on, else `own`, the caller's limit."""
        return int(self.settings.get("max_crashes", own))

    def living_workers(self, now: int) -> int:
        """The number of workers that noted within two leases that they live."""
        recent = now - 2000 * float(self.settings.get("lease_seconds", 30))
        return sum(at >= recent for at in self.seen.values())

    def wake_up(self, count: int) -> None:
        """Wake up to `count` idle workers."""
        self.wake += max(0, min(count, WAKE_TOKENS - self.wake))

    def ready_left(self) -> int:
        """The number of ready tasks."""
        return sum(map(len, self.ready))

    def held_by(self, worker: str) -> list[tuple[UUID, int]]:
        """The leases of a worker with their tokens."""
        return [(task_id, by.token) for task_id, by in self.holder.items() if by.worker == worker]

    def runs_alone(self, task_id: UUID) -> bool:
        """Whether the task had a part in so many deaths of workers that it runs alone."""
        return self.suspect.get(task_id, (0, 0))[0] >= ALONE_AFTER

    def note_death(self, task_id: UUID, token: int) -> None:
        """Note that a task had a part in a death, once for each token."""
        count, last = self.suspect.get(task_id, (0, 0))
        if last != token:
            self.suspect[task_id] = count + 1, token

    def share_death(self, worker: str, *, begun: bool = True) -> None:
        """Note the part of tasks in the death of their worker where it charges none: several, or one not `begun`."""
        held = self.held_by(worker)
        several = len(held) > 1
        for task_id, token in held if several or not begun else ():
            if several or not self.runs_alone(task_id):
                self.note_death(task_id, token)

    def holds(self, task_id: UUID, token: int) -> bool:
        """Whether the task is leased under this token."""
        holder = self.holder.get(task_id)
        return holder is not None and holder.token == token

    def forget_worker(self, name: str) -> None:
        """Remove what is known about a worker; its leases stay."""
        for known in (self.last, self.workers, self.seen):
            known.pop(name, None)

    def trim_gone(self, now: int) -> None:
        """Forget workers that were declared dead long ago."""
        self.gone = {worker: at for worker, at in self.gone.items() if at > now - KEEP_GONE_MS}

    def revoke(self, task_id: UUID) -> None:
        """Take the lease of a task away."""
        self.holder.pop(task_id, None)
        self.lease.remove(task_id)

    def admit(self, task_id: UUID, now: int, *, to_front: bool) -> bool:
        """Make a task ready, or park it behind the one that occupies its partition; returns whether it is ready."""
        partition = self.part.get(task_id)
        if partition is not None:
            head = self.busy.get(partition)
            if head is not None and head != task_id and head in self.job:
                self.parked[partition].append(task_id)
                return False
            self.busy[partition] = task_id
        if self.runs_alone(task_id):
            self.alone.add(task_id, now)
            return True
        level = self.job[task_id].level
        ready = self.ready[level if 0 <= level < PRIORITY_LEVELS else -1]
        if to_front:
            ready.appendleft(task_id)
        else:
            ready.append(task_id)
        return True

    def dead_letter(self, task_id: UUID, reason: str, at: int) -> None:
        """Move a revoked task to the dead letters."""
        self._leave_partition(task_id, at)
        self.clear(task_id)
        self.cancel.discard(task_id)
        self.dlq.add(task_id, at)
        self.reason[task_id] = reason

    def remove(self, task_id: UUID, now: int) -> None:
        """Remove a revoked task that is over."""
        self._leave_partition(task_id, now)
        del self.job[task_id]
        self.crash.pop(task_id, None)
        self.clear(task_id)
        self.cancel.discard(task_id)

    def clear(self, task_id: UUID) -> None:
        """Forget why a task was to run alone or elsewhere: its handler ended."""
        self.suspect.pop(task_id, None)
        self.unknown.pop(task_id, None)

    def forget(self, task_id: UUID, now: int) -> None:
        """Remove a task that waits, from wherever it waits; dead letters stay."""
        if task_id not in self.job or task_id in self.reason:
            return
        self.sched.remove(task_id)
        self.alone.remove(task_id)
        for waiting in (*self.ready, *self.parked.values()):
            if task_id in waiting:
                waiting.remove(task_id)
        self.remove(task_id, now)
        for partition in [one for one, waiting in self.parked.items() if not waiting]:
            del self.parked[partition]

    def requeue(self, task_id: UUID, token: int, *, charge: bool, max_crashes: int, at: int) -> bool:
        """Make a revoked task ready again, or a dead letter after too many crashes; returns whether it is ready.

        With `charge` its worker is dead: the task is charged with a crash if it was the only one of that worker.
        """
        _, shared = self.suspect.get(task_id, (0, 0))
        if charge and shared != token:
            crashes = self.crash[task_id] = self.crash.get(task_id, 0) + 1
            if crashes > max_crashes:
                self.dead_letter(task_id, f"its worker died {crashes} times while running it", at)
                return False
            self.note_death(task_id, token)
        self.admit(task_id, at, to_front=True)
        return True

    def pop(self, turn: int, every: int) -> UUID | None:
        """The next task to claim, by priority, in every `every`-th turn from the low end; None if no task is ready."""
        for ready in reversed(self.ready) if turn % every == 0 else self.ready:
            if ready:
                return ready.popleft()
        return None

    def _leave_partition(self, task_id: UUID, now: int) -> None:
        self.free_partition(task_id, now)
        self.part.pop(task_id, None)

    def free_partition(self, task_id: UUID, now: int) -> None:
        """Make the next task of a partition ready; the task itself stays in the partition."""
        partition = self.part.get(task_id)
        if partition is None or self.busy.get(partition) != task_id:
            return
        del self.busy[partition]
        waiting = self.parked.get(partition)
        if waiting:
            self.admit(waiting.popleft(), now, to_front=False)
            self.wake_up(1)
        if not waiting:
            self.parked.pop(partition, None)


def _copied(value: Any) -> Any:
    """A field of other books; what nothing changes is shared: ids, jobs, holders, steps."""
    match value:
        case Ordered():
            return value.copied()
        case defaultdict():  # of the parked tasks
            return defaultdict(deque, {key: waiting.copy() for key, waiting in value.items()})
        case dict() | set():
            return value.copy()
        case (deque(), *_):  # the ready tasks by level
            return tuple(waiting.copy() for waiting in value)
        case _:
            return value
