"""The contents of a queue in one form for every backend, read past its interface, and control of its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

import redis

from agentexec.queue.keys import partition_name
from agentexec.queue.protocol import Queue
from agentexec.queue.redis_queue import RedisQueue
from harness.simulation.queue.memory_queue import MemoryQueue


@dataclass(frozen=True, kw_only=True)
class QueueContents:
    """Ids and workers as text. `places` are disjoint and in order; `holders` have (token, worker)."""

    places: Mapping[str, Sequence[str]]
    parked: Mapping[str, Sequence[str]]  # lock key as the scripts know it -> ids in order
    known: set[str]
    holders: Mapping[str, tuple[int, str]]
    reasons: Mapping[str, str]
    crashes: Mapping[str, int]
    suspects: Mapping[str, tuple[int, int]]  # deaths of workers, the token at the last one
    cancels: set[str]
    partitions: Mapping[str, str]
    heads: Mapping[str, str]
    workers: Mapping[str, str]
    seen: Mapping[str, int]  # worker -> when it last noted that it lives
    gone: Mapping[str, int]  # worker -> when it was declared dead
    wake: int
    jobs: Mapping[str, tuple[int, bytes]]  # level and payload
    times: Mapping[str, Mapping[str, int]]  # what the scores of `places` are: milliseconds
    counters: tuple[int, int]  # last token, turn
    names: Mapping[tuple[str, str], int]  # name and fingerprint -> when a pool last knew it
    names_changed: str
    unknown: Mapping[str, int]  # task -> when it was first handed back
    quiet: tuple[int, str]  # until when which worker lets itself become empty
    epochs: tuple[str | None, str | None]  # the present one, and the one that is being rebuilt
    nonces: Mapping[str, str]  # worker -> that of its last step


def set_policy(queue: Queue, **changes: Any) -> None:
    """Change limits of a queue; queues over the same server have limits of their own."""
    assert isinstance(queue, (RedisQueue, MemoryQueue))
    queue.policy = replace(queue.policy, **changes)


def add_wake_tokens(queue: Queue, count: int) -> None:
    """Wake idle workers for no reason, as many as the tokens."""
    if isinstance(queue, MemoryQueue):
        queue.books.wake += count
    else:
        assert isinstance(queue, RedisQueue)
        queue.client.rpush(queue.keys.wake, *(["1"] * count))


class Inspector(Protocol):
    """Looks into one queue, and lets its time pass."""

    @property
    def queue(self) -> Queue: ...

    def read(self) -> QueueContents: ...

    def contents(self) -> object:
        """Everything the queue holds, to be compared before and after what must change nothing."""

    def expire(self, *ids: UUID) -> None:
        """Let leases end in the order given."""

    def fall_due(self, *ids: UUID) -> None:
        """Let scheduled tasks fall due in the order given."""

    def wait_long(self, *ids: UUID) -> None:
        """Let tasks have waited for a long time to run alone, in the order given."""

    def age_names(self, seconds: int) -> None:
        """Let the announcements of tasks, and the first hand-backs, be older."""

    def silence(self) -> None:
        """Take every wake token away."""

    def forget(self) -> None:
        """Let the queue lose its contents, which takes a moment."""

    def change_server(self) -> None:
        """Let another server have the contents, as after a failover."""


@dataclass(frozen=True)
class RedisInspector:
    """Moves deadlines instead of the clock, which is the server's."""

    queue: RedisQueue

    def read(self) -> QueueContents:
        raw = self._read()
        parked: dict[str, list[str]] = {}
        for member, _ in raw["parked"]:
            partition, _, task = _text(member).split("|", 2)
            parked.setdefault(partition, []).append(task)
        holders = {task: value.partition("|") for task, value in _texts(raw["holder"]).items()}
        times = {
            name: {_text(i): int(at) for i, at in raw[name]} for name in ("sched", "lease", "dlq", "alone")
        }
        jobs = {_text(i): _job(job) for i, job in raw["job"].items()}
        cfg = _texts(raw["cfg"])
        return QueueContents(
            places={name: [*place] for name, place in times.items()}
            | {f"p{level}": [*map(_text, ready)] for level, ready in enumerate(raw["ready"])},
            parked=parked,
            known=set(jobs),
            holders={task: (int(token), worker) for task, (token, _, worker) in holders.items()},
            reasons=_texts(raw["reason"]),
            crashes={task: int(count) for task, count in _texts(raw["crash"]).items()},
            suspects={task: _pair(value) for task, value in _texts(raw["suspect"]).items()},
            cancels=set(_texts(raw["cancel"])),
            partitions=_texts(raw["part"]),
            heads=_texts(raw["busy"]),
            workers=_texts(raw["workers"]),
            seen={_text(worker): int(at) for worker, at in raw["seen"]},
            gone={_text(worker): int(at) for worker, at in raw["gone"]},
            wake=raw["wake"],
            jobs=jobs,
            times=times,
            counters=(int(raw["fence"] or 0), int(cfg.get("turn", 0))),
            names={(n, p): int(at) for (p, _, n), at in _split(raw["names"])},
            names_changed=cfg.get("names", ""),
            unknown={task: int(at) for task, at in _texts(raw["unknown"]).items()},
            quiet=(int((quiet := cfg.get("quiet", "0|").partition("|"))[0]), quiet[2]),
            epochs=(cfg.get("epoch"), cfg.get("rebuilding")),
            nonces={worker: step.partition("|")[0] for worker, step in _texts(raw["last"]).items()},
        )

    def _read(self) -> dict[str, Any]:
        """Every key in one transaction, since machines look after each of their steps."""
        keys, pipe = self.queue.keys, self.queue.client.pipeline(transaction=True)
        hashes = (
            "job", "holder", "reason", "crash", "suspect", "cancel", "part", "busy", "workers", "cfg", "last",
            "names", "unknown",
        )  # fmt: skip
        for name in hashes:
            pipe.hgetall(getattr(keys, name))
        sets = ("sched", "lease", "dlq", "alone", "seen", "gone", "parked")
        for name in sets:
            pipe.zrange(getattr(keys, name), 0, -1, withscores=True)
        pipe.get(keys.fence)
        pipe.llen(keys.wake)
        for ready in keys.ready:
            pipe.lrange(ready, 0, -1)
        found = pipe.execute()
        names = (*hashes, *sets, "fence", "wake")
        return dict(zip(names, found, strict=False)) | {"ready": found[len(names) :]}

    def contents(self) -> object:
        return {key: _value(self.queue.client, key) for key in self.queue.keys.all()}

    def expire(self, *ids: UUID) -> None:
        self.queue.client.zadd(self.queue.keys.lease, {str(i): n + 1 for n, i in enumerate(ids)}, xx=True)

    def fall_due(self, *ids: UUID) -> None:
        self.queue.client.zadd(self.queue.keys.sched, {str(i): n + 1 for n, i in enumerate(ids)}, xx=True)

    def wait_long(self, *ids: UUID) -> None:
        self.queue.client.zadd(self.queue.keys.alone, {str(i): n + 1 for n, i in enumerate(ids)}, xx=True)

    def age_names(self, seconds: int) -> None:
        for key in (self.queue.keys.names, self.queue.keys.unknown):
            for field in self.queue.client.hkeys(key):
                self.queue.client.hincrby(key, field, -1000 * seconds)

    def silence(self) -> None:
        self.queue.client.delete(self.queue.keys.wake)

    def forget(self) -> None:
        self.queue.drop()

    def change_server(self) -> None:
        self.queue.client.hset(self.queue.keys.cfg, "server", "another")


class Clock:
    """A clock in whole milliseconds that only tests advance."""

    def __init__(self) -> None:
        self.milliseconds = 1_700_000_000_000

    def __call__(self) -> float:
        return self.milliseconds / 1000


@dataclass(frozen=True)
class MemoryInspector:
    """Time passes on the queue's own clock, and all other leases are renewed meanwhile."""

    queue: MemoryQueue
    clock: Clock

    def read(self) -> QueueContents:
        return memory_contents(self.queue)

    def contents(self) -> object:
        books = self.queue.books
        return (
            memory_contents(self.queue),
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

    def wait_long(self, *ids: UUID) -> None:
        for n, task_id in enumerate(ids):
            self.queue.books.alone.add(task_id, n + 1)

    def age_names(self, seconds: int) -> None:
        books = self.queue.books
        books.names = {entry: at - 1000 * seconds for entry, at in books.names.items()}
        books.unknown = {task: at - 1000 * seconds for task, at in books.unknown.items()}

    def silence(self) -> None:
        while self.queue.books.wake:
            self.queue.wait(1)

    def forget(self) -> None:
        self.queue.drop()
        self.clock.milliseconds += 1

    def change_server(self) -> None:
        self.queue.restore(self.queue.books)

    def _pass(self, milliseconds: int, *, but: Sequence[UUID]) -> None:
        left = {i: at - self.clock.milliseconds for at, i in self.queue.books.lease.items() if i not in but}
        self.clock.milliseconds += milliseconds
        for task_id, remaining in left.items():
            self._renew(task_id, remaining)

    def _renew(self, task_id: UUID, milliseconds: int) -> None:
        holder = self.queue.books.holder[task_id]
        before = self.queue.policy
        set_policy(self.queue, lease_seconds=milliseconds / 1000)
        lost, _ = self.queue.renew(holder.worker, {task_id: holder.token})
        self.queue.policy = before
        assert not lost


def memory_contents(queue: MemoryQueue) -> QueueContents:
    books = queue.books
    times = {name: getattr(books, name) for name in ("sched", "lease", "dlq", "alone")}
    places: dict[str, list[UUID]] = {name: [*place] for name, place in times.items()}
    places |= {f"p{level}": [*ready] for level, ready in enumerate(books.ready)}
    return QueueContents(
        places={name: [str(i) for i in place] for name, place in places.items()},
        parked={partition_name(key): [str(i) for i in line] for key, line in books.parked.items()},
        known={str(i) for i in books.job},
        holders={str(i): (holder.token, holder.worker) for i, holder in books.holder.items()},
        reasons={str(i): reason for i, reason in books.reason.items()},
        crashes={str(i): count for i, count in books.crash.items()},
        suspects={str(i): noted for i, noted in books.suspect.items()},
        cancels={str(i) for i in books.cancel},
        partitions={str(i): partition_name(key) for i, key in books.part.items()},
        heads={partition_name(key): str(i) for key, i in books.busy.items()},
        workers=dict(books.workers),
        seen=dict(books.seen),
        gone=dict(books.gone),
        wake=books.wake,
        jobs={str(i): (job.level, job.payload) for i, job in books.job.items()},
        times={name: {str(i): at for at, i in place.items()} for name, place in times.items()},
        counters=(books.fence, books.turn),
        names=books.names,
        names_changed=books.names_changed,
        unknown={str(i): at for i, at in books.unknown.items()},
        quiet=books.quiet,
        epochs=(books.epoch, books.rebuilding),
        nonces={worker: step.nonce for worker, step in books.last.items()},
    )


def contents_of(queue: Queue) -> QueueContents:
    """The books of any backend."""
    if isinstance(queue, MemoryQueue):
        return memory_contents(queue)
    assert isinstance(queue, RedisQueue)
    return RedisInspector(queue).read()


def _job(job: bytes) -> tuple[int, bytes]:
    level = job[:1]
    return (int(level) if level.isdigit() else -1), job[1:]


def _split(found: Mapping[Any, Any]) -> list[tuple[tuple[str, str, str], str]]:
    return [(name.partition("|"), value) for name, value in _texts(found).items()]


def _pair(value: str) -> tuple[int, int]:
    first, _, second = value.partition("|")
    return int(first), int(second)


def _texts(found: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in found.items()}


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
