"""What a queue knows, read behind its back, in one form for every backend; and time that tests let pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import redis

from agentexec.keys import partition_name
from agentexec.memory_queue import MemoryQueue
from agentexec.queue import Queue
from agentexec.redis_queue import RedisQueue


@dataclass(frozen=True, kw_only=True)
class Books:
    """Ids and workers as text. `places` are disjoint and in order; `own` has (token, worker)."""

    places: Mapping[str, Sequence[str]]
    parked: Mapping[str, Sequence[str]]  # lock key as the scripts know it -> ids in order
    known: set[str]
    own: Mapping[str, tuple[int, str]]
    held: set[tuple[str, str]]  # worker, id
    reasons: Mapping[str, str]
    crashes: Mapping[str, int]
    cancels: set[str]
    partitions: Mapping[str, str]
    heads: Mapping[str, str]
    workers: Mapping[str, str]
    gone: set[str]
    wake: int


class Inspector(Protocol):
    """Looks into one queue, and lets its time pass."""

    @property
    def queue(self) -> Queue: ...

    def books(self) -> Books: ...

    def contents(self) -> object:
        """Everything the queue holds, to be compared before and after what must change nothing."""

    def expire(self, *ids: UUID) -> None:
        """Let leases end in the order given."""

    def fall_due(self, *ids: UUID) -> None:
        """Let scheduled tasks fall due in the order given."""

    def silence(self) -> None:
        """Take every wake token away."""

    def forget(self) -> None:
        """Let the queue lose its memory, which takes a moment."""


@dataclass(frozen=True)
class RedisInspector:
    """Time passes because deadlines are moved: nobody can move a server's clock."""

    queue: RedisQueue

    def books(self) -> Books:
        client, keys = self.queue.client, self.queue.keys
        parked: dict[str, list[str]] = {}
        members: Any = client.zrange(keys.parked, 0, -1)
        for member in members:
            partition, _, task = _text(member).split("|", 2)
            parked.setdefault(partition, []).append(task)
        places: dict[str, Any] = {
            name: client.zrange(getattr(keys, name), 0, -1) for name in ("sched", "lease", "dlq")
        }
        places |= {f"p{level}": client.lrange(ready, 0, -1) for level, ready in enumerate(keys.ready)}
        own = {task: value.partition("|") for task, value in self._hash(keys.own).items()}
        held: Any = client.zrange(keys.held, 0, -1)
        gone: Any = client.zrange(keys.gone, 0, -1)
        return Books(
            places={name: [_text(member) for member in place] for name, place in places.items()},
            parked=parked,
            known=set(self._hash(keys.job)),
            own={task: (int(token), worker) for task, (token, _, worker) in own.items()},
            held={(worker, task) for worker, _, task in (_text(member).rpartition("|") for member in held)},
            reasons=self._hash(keys.reason),
            crashes={task: int(count) for task, count in self._hash(keys.crash).items()},
            cancels=set(self._hash(keys.cancel)),
            partitions=self._hash(keys.part),
            heads=self._hash(keys.busy),
            workers=self._hash(keys.workers),
            gone={_text(worker) for worker in gone},
            wake=int(client.llen(keys.wake)),
        )

    def contents(self) -> object:
        return {key: _value(self.queue.client, key) for key in self.queue.keys.all()}

    def expire(self, *ids: UUID) -> None:
        self.queue.client.zadd(self.queue.keys.lease, {str(i): n + 1 for n, i in enumerate(ids)}, xx=True)

    def fall_due(self, *ids: UUID) -> None:
        self.queue.client.zadd(self.queue.keys.sched, {str(i): n + 1 for n, i in enumerate(ids)}, xx=True)

    def silence(self) -> None:
        self.queue.client.delete(self.queue.keys.wake)

    def forget(self) -> None:
        self.queue.drop()

    def _hash(self, key: str) -> dict[str, str]:
        found: dict[Any, Any] = self.queue.client.hgetall(key)
        return {_text(name): _text(value) for name, value in found.items()}


class Clock:
    """A clock in whole milliseconds that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.milliseconds = 1_700_000_000_000

    def __call__(self) -> float:
        return self.milliseconds / 1000


@dataclass(frozen=True)
class MemoryInspector:
    """Time passes on the queue's own clock, while the holders of all other leases go on renewing them."""

    queue: MemoryQueue
    clock: Clock

    def books(self) -> Books:
        return memory_books(self.queue)

    def contents(self) -> object:
        books = self.queue.books
        return (
            memory_books(self.queue),
            books.sched.items(),
            books.lease.items(),
            books.dlq.items(),
            repr(books),
        )

    def expire(self, *ids: UUID) -> None:
        for n, task_id in enumerate(ids):
            self._renew(task_id, n + 1)
        self._pass(len(ids), but=ids)

    def fall_due(self, *ids: UUID) -> None:
        now = self.clock.milliseconds
        due = max((at for at, task_id in self.queue.books.sched.items() if task_id in ids), default=now)
        self._pass(max(0, due - now), but=())

    def silence(self) -> None:
        while self.queue.books.wake:
            self.queue.wait(1)

    def forget(self) -> None:
        self.queue.drop()
        self.clock.milliseconds += 1

    def _pass(self, milliseconds: int, *, but: Sequence[UUID]) -> None:
        left = {i: at - self.clock.milliseconds for at, i in self.queue.books.lease.items() if i not in but}
        self.clock.milliseconds += milliseconds
        for task_id, remaining in left.items():
            self._renew(task_id, remaining)

    def _renew(self, task_id: UUID, milliseconds: int) -> None:
        holder = self.queue.books.own[task_id]
        lost, _ = self.queue.renew(holder.worker, {task_id: holder.token}, lease=milliseconds / 1000)
        assert not lost


def memory_books(queue: MemoryQueue) -> Books:
    books = queue.books
    places: dict[str, list[UUID]] = {"sched": [*books.sched], "lease": [*books.lease], "dlq": [*books.dlq]}
    places |= {f"p{level}": [*ready] for level, ready in enumerate(books.ready)}
    return Books(
        places={name: [str(i) for i in place] for name, place in places.items()},
        parked={partition_name(key): [str(i) for i in line] for key, line in books.parked.items()},
        known={str(i) for i in books.job},
        own={str(i): (holder.token, holder.worker) for i, holder in books.own.items()},
        held={(holder.worker, str(i)) for i, holder in books.own.items()},
        reasons={str(i): reason for i, reason in books.reason.items()},
        crashes={str(i): count for i, count in books.crash.items()},
        cancels={str(i) for i in books.cancel},
        partitions={str(i): partition_name(key) for i, key in books.part.items()},
        heads={partition_name(key): str(i) for key, i in books.busy.items()},
        workers=dict(books.workers),
        gone=set(books.gone),
        wake=books.wake,
    )


def books_of(queue: Queue) -> Books:
    """The books of any backend."""
    if isinstance(queue, MemoryQueue):
        return memory_books(queue)
    assert isinstance(queue, RedisQueue)
    return RedisInspector(queue).books()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")  # no byte is lost or made up


def _value(client: redis.Redis, key: str) -> object:
    match client.type(key):
        case b"hash":
            return client.hgetall(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case _:
            return client.get(key)
