"""The thread that records and dispatches the tasks of this process, in batches.

Calls that arrive while one batch is handled form the next, so many callers share one commit and one round trip. The
thread has connections of its own: a caller that is canceled in the middle of its `await` cannot leave a connection
in an undefined state.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from agentexec.core import runtime
from agentexec.core.circuit import Circuit
from agentexec.core.counters import COUNTERS, QUEUED
from agentexec.core.db import KeptConnection
from agentexec.core.postgres import patiently, timed_out
from agentexec.errors import QueueFull
from agentexec.producer.batching import BatchThread
from agentexec.producer.dispatch_marker import DispatchMarker
from agentexec.producer.lock_order import LockOrder
from agentexec.queue.ownership import adopt_queue, store_name
from agentexec.queue.protocol import Admission, Dispatch, Queue
from agentexec.store.dialects import parts
from agentexec.store.refusals import SEPARABLE, FailureKind, kind_of
from agentexec.store.rows import NewActivity
from agentexec.store.statements import record_enqueued

MAX_BATCH = 1000
OWNERSHIP_EVERY = 10.0  # seconds between two looks at which activity store the queue serves

_logger = logging.getLogger(__name__)


class PreparedTask(NamedTuple):
    """A task to be recorded, its payload for the queue, and the size of its data in bytes."""

    activity: NewActivity
    payload: bytes
    size: int


@dataclass(frozen=True, slots=True)
class _Group:
    """The tasks of one caller, and the future for their recorded ids, of an event loop if the caller has one."""

    entries: Sequence[PreparedTask]
    future: Future[list[UUID]] | asyncio.Future[list[UUID]]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def needs_transaction(self) -> bool:
        """Whether a conflict of one idempotency key must leave other tasks of the caller unrecorded."""
        return len(self) > 1 and any(entry.activity.idempotency_key for entry in self.entries)


class Enqueuer:
    """Records tasks in Postgres, then dispatches them to Redis. Safe to use from any thread and event loop."""

    def __init__(self, engine: Engine, queue: Queue) -> None:
        self._engine = engine
        self._one_statement = KeptConnection(engine)
        self._queue = queue
        self._store: str | None = None
        self._ours_until = -math.inf
        self._thread = BatchThread(self._handle, name="agentexec-enqueuer", limit=MAX_BATCH)
        self.reset()

    def reset(self) -> None:
        """Forget the threads, the locks and what was handed in. In a forked child these belong to the parent."""
        # SQLite takes one writer at a time, and in memory all threads share one connection.
        many_writers = self._engine.dialect.name == "postgresql"
        self._one_writer: AbstractContextManager[object] = (
            nullcontext() if many_writers else runtime.current().condition()
        )
        self._marker = DispatchMarker(self._engine, one_writer=self._one_writer)
        self.circuit = Circuit(partial(self._queue.known, [UUID(int=0)]))
        self._order = LockOrder(self._engine, one_writer=self._one_writer)
        self._thread.reset()

    def submit(self, entries: Sequence[PreparedTask]) -> Future[list[UUID]]:
        """Hand in tasks; the future gives their ids once they are durable in Postgres and offered to Redis.

        The future raises what the database raised (then nothing is recorded, or the outcome is unknown if the
        connection broke in the commit), `QueueFull`, or `ConfigurationError` if the queue serves another activity
        store. Raises `AgentexecError` after `close`.
        """
        future: Future[list[UUID]] = Future()
        self._thread.add(_Group(entries, future))
        return future

    def submitted(self, entries: Sequence[PreparedTask]) -> asyncio.Future[list[UUID]]:
        """`submit` for the running event loop. A caller that is canceled does not cancel the shared batch."""
        future: asyncio.Future[list[UUID]] = asyncio.get_running_loop().create_future()
        self._thread.add(_Group(entries, future))
        return future

    def close(self) -> None:
        """Finish what was handed in, then end the threads."""
        self._thread.close()
        self._one_statement.close()
        self._marker.close()
        self.circuit.close()

    def _handle(self, batch: Sequence[_Group]) -> None:
        """Record and dispatch a batch. Every error goes to the callers that wait, so the thread lives on."""
        left = deque(parts(batch, lambda group: sum(entry.size for entry in group.entries)))
        while left:
            part = left.popleft()
            try:
                self._serve(part, self._record(part))
            except Exception as error:  # noqa: BLE001 - see above
                middle = len(part) // 2
                # The task of one caller must not fail those of the others.
                if middle and isinstance(error, SEPARABLE) and kind_of(error) is FailureKind.ROW:
                    left.extendleft([part[middle:], part[:middle]])
                    continue
                failed = [*part]
                if timed_out(error):  # those that wait would wait for the same silent server
                    failed += [*chain.from_iterable(left), *self._thread.take_waiting()]
                    left.clear()
                _answer((group, error) for group in failed)

    def _serve(self, batch: Sequence[_Group], recorded: Mapping[UUID, UUID]) -> None:
        """Dispatch what was recorded, and answer the callers."""
        entries = [entry for group in batch for entry in group.entries]
        fresh = [entry for entry in entries if recorded[entry.activity.id] == entry.activity.id]
        refused = self._dispatch(fresh)
        for name, count in Counter(entry.activity.task_name for entry in fresh).items():
            COUNTERS.add(QUEUED, name, amount=count)
        answers: list[tuple[_Group, list[UUID] | Exception]] = []
        for group in batch:
            ids = [recorded[entry.activity.id] for entry in group.entries]
            full = [i for i in ids if i in refused] if refused else []
            answers.append((group, QueueFull(full, self._queue.policy.max_depth) if full else ids))
        _answer(answers)

    def _require_own_queue(self) -> None:
        """Raise `ConfigurationError` for a queue of another activity store; pass while a server does not answer."""
        now = runtime.current().monotonic()
        if now < self._ours_until:
            return
        try:
            self._store = self._store or store_name(self._engine)
            if not self.circuit.silent:
                adopt_queue(self._store, self._queue)
        except redis.RedisError as error:
            self.circuit.note(error)
        except SQLAlchemyError as error:
            if timed_out(error):
                raise
        # Also without an answer: a server that is away costs one wait only.
        self._ours_until = now + OWNERSHIP_EVERY

    def _record(self, batch: Sequence[_Group]) -> dict[UUID, UUID]:
        """Record tasks, again if that may help: what was committed after all is found by its id."""
        self._require_own_queue()
        entries = sorted((e for group in batch for e in group.entries), key=lambda e: e.activity.insert_order)
        statements = [[e.activity for e in part] for part in parts(entries, lambda entry: entry.size)]
        # A transaction takes two more round trips than one statement.
        whole = len(statements) > 1 or any(group.needs_transaction for group in batch)
        engine, first = self._engine if whole else self._one_statement, iter([True])
        return patiently(lambda: self._write(statements, engine, new_ids=next(first, False)))

    def _write(
        self, statements: Sequence[Sequence[NewActivity]], engine: Engine | KeptConnection, *, new_ids: bool
    ) -> dict[UUID, UUID]:
        recorded: dict[UUID, UUID] = {}
        with self._one_writer, engine.begin() as connection:
            for activities in statements:
                recorded |= record_enqueued(connection, activities, new_ids=new_ids)
        return recorded

    def _dispatch(self, entries: Sequence[PreparedTask]) -> set[UUID]:
        """Offer recorded tasks to the queue; returns those for which it has no room.

        A Redis that does not answer is no failure of the enqueue: the task is durable, and the outbox dispatcher of
        any pool dispatches it. After a time-out it dispatches all tasks until Redis answers, so that no other caller
        waits.
        """
        tasks: Sequence[Dispatch] = [dispatch_of(entry.activity, entry.payload) for entry in entries]
        if self.circuit.silent:
            self._order.wait(tasks)
            return set()
        tasks, full = self._order.hold(tasks)
        try:
            answers = self._queue.enqueue(tasks)
        except redis.RedisError as error:
            self.circuit.note(error)
            message = "recorded %d task(s) that Redis did not take (%s); a pool dispatches them later"
            _logger.warning(message, len(tasks), error)
            self._order.wait(tasks)
            return full
        self._marker.add([t.task_id for t, a in zip(tasks, answers, strict=True) if a is Admission.TAKEN])
        left = [(t, a) for t, a in zip(tasks, answers, strict=True) if a is not Admission.TAKEN]
        full |= {task.task_id for task, answer in left if answer is Admission.FULL}
        self._order.wait((task for task, _ in left), full)
        return full


def _answer(answers: Iterable[tuple[_Group, list[UUID] | Exception]]) -> None:
    """Give callers their ids or an error. Those of one event loop get theirs together, so that it wakes up once."""
    by_loop: defaultdict[Any, list[tuple[Any, list[UUID] | Exception]]] = defaultdict(list)
    for group, answer in answers:
        loop = None if isinstance(group.future, Future) else group.future.get_loop()
        by_loop[loop].append((group.future, answer))
    _resolve(by_loop.pop(None, ()))
    for loop, answered in by_loop.items():
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(_resolve, answered)


def _resolve(answered: Iterable[tuple[Any, list[UUID] | Exception]]) -> None:
    for future, answer in answered:
        if not future.done():
            (future.set_result if isinstance(answer, list) else future.set_exception)(answer)


def dispatch_of(activity: NewActivity, payload: bytes) -> Dispatch:
    """A recorded activity as the queue takes it."""
    return Dispatch(
        task_id=activity.id,
        payload=payload,
        level=activity.priority,
        delay=activity.delay,
        lock_key=activity.lock_key,
    )
