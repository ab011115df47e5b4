"""The thread that records and dispatches tasks for everybody in this process, in batches.

Calls that arrive while a batch is under way form the next one, so many callers share one commit and one round
trip. It owns its connections alone: a caller that is canceled in the middle of its `await` cannot leave a
connection out of step.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from agentexec.core import runtime
from agentexec.core.db import one_statement
from agentexec.counters import COUNTERS
from agentexec.errors import AgentexecError, QueueFull
from agentexec.producer.dispatch_marker import DispatchMarker
from agentexec.queue.protocol import Admission, Dispatch, Queue
from agentexec.store.hot import enqueue
from agentexec.store.rows import NewActivity

MAX_BATCH = 1000

_logger = logging.getLogger(__name__)


class _Entry(NamedTuple):
    activity: NewActivity
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Group:
    """What one caller handed in, and where it waits for the recorded ids."""

    entries: Sequence[_Entry]
    future: Future[list[UUID]]


class Enqueuer:
    """Records tasks in Postgres, then dispatches them to Redis. Safe to use from any thread and any event
    loop.
    """

    def __init__(self, engine: Engine, queue: Queue) -> None:
        # SQLite takes one writer at a time, and in memory all threads share one connection.
        many = engine.dialect.name == "postgresql"
        self._turns: AbstractContextManager[object] = nullcontext() if many else runtime.current().condition()
        self._marker = DispatchMarker(engine, turns=self._turns)
        self._one_statement = one_statement(engine)
        self._queue = queue
        self._groups: list[_Group] = []
        self._changed = runtime.current().condition()
        self._closing = False
        self._thread: runtime.Thread | None = None

    def submit(self, activities: Sequence[NewActivity], payloads: Sequence[bytes]) -> Future[list[UUID]]:
        """Hand in tasks; the future gives their ids once they are durable in Postgres and offered to Redis.

        It raises what the database raised (nothing is recorded then, or the outcome is unknown if the
        connection broke in the commit), or `QueueFull`.
        """
        future: Future[list[UUID]] = Future()
        future.set_running_or_notify_cancel()  # from here on nobody can cancel it: the batch is shared
        entries = [_Entry(activity, payload) for activity, payload in zip(activities, payloads, strict=True)]
        with self._changed:
            if self._closing:
                raise AgentexecError("This client is closed; make a new one.")
            if self._thread is None:
                self._thread = runtime.current().spawn(self._run, name="agentexec-enqueuer")
            self._groups.append(_Group(entries, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finish what was handed in, then end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._marker.close()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._handle(batch)

    def _next_batch(self) -> list[_Group]:
        """Wait for work; none once it is closed and done."""
        with self._changed:
            self._changed.wait_for(lambda: self._groups or self._closing)
            taken, size = 0, 0
            while taken < len(self._groups) and (
                size == 0 or size + len(self._groups[taken].entries) <= MAX_BATCH
            ):
                size += len(self._groups[taken].entries)
                taken += 1
            batch, self._groups = self._groups[:taken], self._groups[taken:]
            return batch

    def _handle(self, batch: list[_Group]) -> None:
        """Serve a batch. Whatever goes wrong is told to the callers that wait; this thread has to live on."""
        try:
            self._serve(batch)
        except Exception as error:  # noqa: BLE001 - see above
            for group in batch:
                if not group.future.done():
                    group.future.set_exception(error)

    def _serve(self, batch: list[_Group]) -> None:
        entries = [entry for group in batch for entry in group.entries]
        try:
            recorded = self._record(entries)
        except Exception as error:  # noqa: BLE001 - whatever the database raised belongs to the callers that wait
            if len(batch) > 1:  # one bad task must not fail its neighbours in the batch
                for group in batch:
                    self._handle([group])
            else:
                batch[0].future.set_exception(error)
            return
        fresh = [entry for entry in entries if recorded[entry.activity.id] == entry.activity.id]
        COUNTERS.queued(entry.activity.task_name for entry in fresh)
        refused = self._dispatch(fresh)
        for group in batch:
            ids = [recorded[entry.activity.id] for entry in group.entries]
            full = [i for i in ids if i in refused] if refused else []
            if full:
                group.future.set_exception(QueueFull(full, self._queue.policy.max_depth))
            else:
                group.future.set_result(ids)

    def _record(self, entries: Sequence[_Entry]) -> dict[UUID, UUID]:
        """Write down; once more where the connection broke. That is safe, as the ids are ours: what was committed
        after all is found again.
        """
        activities = [entry.activity for entry in entries]
        try:
            return self._write(activities)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            _logger.warning("the connection to the database broke; recording %d task(s) again", len(entries))
            return self._write(activities)

    def _write(self, activities: Sequence[NewActivity]) -> dict[UUID, UUID]:
        # One statement, hence one transaction and one round trip.
        with self._turns, self._one_statement.begin() as connection:
            return enqueue(connection, activities)

    def _dispatch(self, entries: Sequence[_Entry]) -> set[UUID]:
        """Offer recorded tasks to the queue; returns those without room.

        Redis being away is no failure of the enqueue: the record is durable and the relay of any pool
        dispatches it.
        """
        tasks = [
            Dispatch(
                task_id=e.activity.id,
                payload=e.payload,
                level=e.activity.priority,
                delay=e.activity.delay,
                lock_key=e.activity.lock_key,
            )
            for e in entries
        ]
        try:
            answers = self._queue.enqueue(tasks)
        except redis.RedisError as error:
            _logger.warning(
                "recorded %d task(s) that Redis did not take (%s); a pool's relay will dispatch them",
                len(tasks),
                error,
            )
            return set()
        answered = [(task.task_id, answer) for task, answer in zip(tasks, answers, strict=True)]
        self._marker.add([i for i, answer in answered if answer is Admission.TAKEN])
        return {i for i, answer in answered if answer is Admission.FULL}
