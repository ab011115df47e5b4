"""The queue protocol in memory: without a server, on a given clock.

Every method does what its Lua script does. The contract suite and a property test compare the two, so a simulation over
this queue shows what happens over Redis.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from operator import itemgetter
from uuid import UUID

from agentexec.errors import WorkerGone
from agentexec.queue.protocol import (
    Admission,
    Dispatch,
    QueueDepth,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
    Tokens,
    milliseconds,
)
from harness.simulation.queue.books import Books, Job
from harness.simulation.queue.names import hand_back
from harness.simulation.queue.step import reply, take_step

LOCK_AGAIN_MS = 1000
KEEP_NAMES_MS = 24 * 3600 * 1000


class MemoryQueue:
    """One queue, for threads of this process only. Its contents end with the process."""

    def __init__(
        self,
        name: str = "memory",
        policy: QueuePolicy | None = None,
        *,
        clock: Callable[[], float] = time.time,
        idle: Callable[[float], object] | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch. `idle(seconds)` waits up to so many seconds.

        Without `idle`, `wait` blocks the thread in real time until it is woken.
        """
        self.name = name
        self.policy = policy or QueuePolicy()
        self._clock = clock
        self._idle = idle or self._block
        self._books = Books()
        self._server = 0  # changes with each failover
        self._results: dict[UUID, tuple[str, int]] = {}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    @property
    def books(self) -> Books:
        """The contents of the queue, for checks; the caller must not change them."""
        return self._books

    def enqueue(self, tasks: Sequence[Dispatch], *, from_reconciler: bool = False) -> list[Admission]:
        with self._lock:
            books = self._books
            takes_locks = from_reconciler or books.epoch is not None
            depth, full, pushed = len(books.job) - len(books.dlq), False, 0
            answers = []
            for task in tasks:
                if task.task_id in books.job:
                    answers.append(Admission.TAKEN)
                elif task.lock_key is not None and not takes_locks:
                    answers.append(Admission.LATER)
                elif full := full or (not from_reconciler and 0 < self.policy.max_depth <= depth):
                    answers.append(Admission.FULL)
                else:
                    pushed += self._take(task)
                    depth += 1
                    answers.append(Admission.TAKEN)
            self._wake(pushed)
            return answers

    def step(self, request: StepRequest) -> StepResult:
        with self._lock:
            books, now_us, worker = self._books, self._microseconds(), request.worker
            until = now_us // 1000 + self.policy.result_ttl_seconds * 1000
            self._results |= {f.task_id: (f.result, until) for f in request.finishes if f.result is not None}
            if worker in books.gone:
                raise WorkerGone(f"worker {worker} was declared dead; its leases belong to others")
            step = books.last.get(worker)
            if step is None or step.nonce != request.nonce:
                step = take_step(books, request, self.policy, now_us)
                self._changed.notify_all()
            return reply(books, request, step, now_us // 1000)

    def result(self, task_id: UUID) -> str | None:
        with self._lock:
            text, until = self._results.get(task_id, (None, 0))
            return text if self._now() < until else None

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        parked, lost = set(), set()
        with self._lock:
            books = self._books
            for task_id, (token, lock_key) in claims.items():
                if not books.holds(task_id, token):
                    lost.add(task_id)
                    continue
                if books.epoch is None:  # it is unknown which task occupies the partition
                    books.revoke(task_id)
                    books.sched.add(task_id, self._now() + LOCK_AGAIN_MS)
                    parked.add(task_id)
                    continue
                partition = books.part.setdefault(task_id, lock_key)
                head = books.busy.get(partition)
                if head is None or head == task_id or head not in books.job:
                    books.busy[partition] = task_id
                else:
                    books.revoke(task_id)
                    books.admit(task_id, self._now(), to_front=False)
                    parked.add(task_id)
        return parked, lost

    def renew(self, worker: str, leases: Tokens) -> tuple[set[UUID], set[UUID]]:
        with self._lock:
            books, deadline = self._books, self._now() + milliseconds(self.policy.lease_seconds)
            alive = worker not in books.gone
            kept = [i for i, token in leases.items() if alive and books.holds(i, token)]
            for task_id in kept:
                books.lease.add(task_id, deadline)
            return set(leases) - set(kept), books.cancel.intersection(kept)

    def release(
        self,
        worker: str | None,
        leases: Tokens | None,
        *,
        charge: bool = False,
        begun: bool = True,
        declare_gone: bool = False,
    ) -> Revocations:
        requeued: dict[UUID, int] = {}
        dead: dict[UUID, int] = {}
        if leases is not None and not leases and not declare_gone:
            return Revocations(requeued, dead)
        name = worker or ""
        with self._lock:
            books, now = self._books, self._now()
            limit = books.max_crashes(self.policy.max_crashes)
            wanted = leases.items() if leases else sorted(books.held_by(name), key=itemgetter(1))
            valid = [
                (i, token)
                for i, token in wanted
                if books.holds(i, token) and name in ("", books.holder[i].worker)
            ]
            if charge and valid:
                books.share_death(name, begun=begun)
            for task_id, token in reversed(valid):
                books.revoke(task_id)
                alive = books.requeue(task_id, token, charge=charge, max_crashes=limit, at=now)
                (requeued if alive else dead)[task_id] = token
            if declare_gone:
                books.forget_worker(name)
                books.gone[name] = now
                books.trim_gone(now)
            self._wake(len(requeued))
        return Revocations(requeued, dead)

    def leases_of(self, worker: str) -> dict[UUID, int]:
        with self._lock:
            return dict(self._books.held_by(worker))

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        with self._lock:
            answers = [task_id in self._books.holder for task_id in task_ids]
            for task_id, held in zip(task_ids, answers, strict=True):
                if held:
                    self._books.cancel.add(task_id)
                else:
                    self._books.forget(task_id, self._now())
            self._changed.notify_all()
            return answers

    def wait(self, timeout: float) -> bool:
        if timeout <= 0:
            return False
        if not self._books.wake:
            self._idle(timeout)
        with self._lock:
            woken = self._books.wake > 0
            self._books.wake -= woken
            return woken

    def depth(self) -> QueueDepth:
        with self._lock:
            books = self._books
            return QueueDepth(
                ready=books.ready_left() + len(books.alone),
                leased=len(books.lease),
                scheduled=len(books.sched),
                parked=sum(map(len, books.parked.values())),
                dead=len(books.dlq),
                known=len(books.job),
            )

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        with self._lock:
            return [task_id in self._books.job for task_id in task_ids]

    def leases(self, task_ids: Sequence[UUID]) -> dict[UUID, int]:
        with self._lock:
            return {i: self._books.holder[i].token for i in task_ids if i in self._books.holder}

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        with self._lock:
            return {i: self._books.reason[i] for i in task_ids if i in self._books.reason}

    def begin_rebuild(self, proposal: str) -> str | None:
        with self._lock:
            books = self._books
            if books.server != self._server:
                books.server, books.epoch, books.rebuilding = self._server, None, None
            if books.epoch is not None:
                return None
            books.rebuilding = books.rebuilding or proposal
            return books.rebuilding

    def end_rebuild(self, name: str) -> bool:
        with self._lock:
            if self._books.rebuilding == name:
                self._books.epoch, self._books.rebuilding = name, None
            return self._books.epoch is not None

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        with self._lock:
            before = self._books.settings
            self._books.settings = {**before, **values}
            return {name: before[name] for name in values if before.get(name, values[name]) != values[name]}

    def announce(self, fingerprints: Mapping[str, str]) -> None:
        with self._lock:
            books, now, entries = self._books, self._now(), fingerprints.items()
            if entries - books.names.keys():
                books.names_changed = str(self._microseconds())
            known = books.names | dict.fromkeys(entries, now)
            if entries:
                books.names = {entry: at for entry, at in known.items() if at >= now - KEEP_NAMES_MS}

    def announced(self) -> dict[str, set[str]]:
        with self._lock:
            known: dict[str, set[str]] = {}
            for name, fingerprint in self._books.names:
                known.setdefault(name, set()).add(fingerprint)
            return known

    def hand_back(
        self, claims: Mapping[UUID, tuple[int, str, str]], *, limit: float, delay: float
    ) -> tuple[set[UUID], set[UUID]]:
        unknown, lost = set(), set()
        with self._lock:
            for task_id, (token, name, fingerprint) in claims.items():
                if not self._books.holds(task_id, token):
                    lost.add(task_id)
                elif not hand_back(
                    self._books,
                    task_id,
                    (name, fingerprint),
                    limit=milliseconds(limit),
                    shortest=milliseconds(delay),
                    now=self._now(),
                ):
                    unknown.add(task_id)
        return unknown, lost

    def register(self, worker: str, identity: str) -> None:
        with self._lock:
            books, now = self._books, self._now()
            if worker in books.gone:
                return
            books.workers[worker], books.seen[worker] = identity, now
            silent_since = now - milliseconds(self.policy.silence_seconds)
            for name in [name for name, at in books.seen.items() if at <= silent_since]:
                books.forget_worker(name)
            books.trim_gone(now)

    def registered(self) -> dict[str, str]:
        with self._lock:
            return dict(self._books.workers)

    def adopt(self, store: str, *, force: bool = False) -> str | None:
        with self._lock:
            books = self._books
            in_use = len(books.job) > len(books.dlq) or books.living_workers(self._now()) > 0
            if in_use and books.store not in (None, store) and not force:
                return books.store
            books.store = store
            return None

    def drop(self) -> None:
        """Lose everything but the results, as a server does when a queue's keys are deleted."""
        with self._lock:
            self._books = Books()

    def lose(self, keys: Collection[str]) -> None:
        """Lose these keys, as a server does that evicts some; the names are those of the fields of `Books`."""
        with self._lock:
            left = {one.name: getattr(self._books, one.name) for one in fields(Books) if one.name not in keys}
            self._books = Books(**left)

    def restore(self, books: Books) -> None:
        """Replace the contents by those of another moment, on another server, as a failover does."""
        with self._lock:
            self._books = books
            self._server += 1

    def _microseconds(self) -> int:
        return round(self._clock() * 1_000_000)

    def _now(self) -> int:
        return self._microseconds() // 1000

    def _wake(self, count: int) -> None:
        self._books.wake_up(count)
        self._changed.notify_all()

    def _block(self, timeout: float) -> None:
        with self._lock:
            self._changed.wait_for(lambda: self._books.wake, timeout)

    def _take(self, task: Dispatch) -> bool:
        """Add a new task; returns whether it is ready now."""
        books = self._books
        books.job[task.task_id] = Job(task.level, task.payload)
        if task.lock_key is not None:
            books.part[task.task_id] = task.lock_key
        if delay := milliseconds(task.delay):
            books.sched.add(task.task_id, self._now() + delay)
            return False
        return books.admit(task.task_id, self._now(), to_front=False)
