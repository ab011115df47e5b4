"""A client without servers: its record is SQLite in a temporary file, its queue is memory. No task runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import UUID

import redis
from sqlalchemy import event

from agentexec.core.db import create_schema
from agentexec.errors import require
from agentexec.producer.client import Client, use_client
from agentexec.producer.enqueuer import Enqueuer
from agentexec.queue.protocol import (
    Admission,
    Claim,
    Dispatch,
    Disposition,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
    Tokens,
)
from agentexec.task import Registry, Task, decode_payload
from agentexec.worker.pool import Pool

NO_REDIS = "redis://127.0.0.1:1"  # a port on which nothing listens
NONE = Revocations({}, {})


class LocalQueue:
    """What a client and one worker in its process use of `agentexec.queue.protocol.Queue`.

    No lease expires, and no delay is waited for.
    """

    def __init__(self, name: str, policy: QueuePolicy, client: redis.Redis) -> None:
        """`client` is what closes with the queue of a real client; it is never connected."""
        self.client = client
        self.name = name
        self.policy = policy
        self.jobs: dict[UUID, Dispatch] = {}  # in the order of their enqueue
        self.wake: Callable[[], None] = lambda: None  # called when there is something to claim or to cancel
        self._changed = threading.Condition()
        self._ready: list[UUID] = []
        self._tokens: dict[UUID, int] = {}  # of claimed tasks
        self._canceled: set[UUID] = set()
        self._results: dict[UUID, str | None] = {}
        self._last_token = 0
        self._trouble: BaseException | None = None

    def adopt(self, _store: str, **_: Any) -> str | None:
        """None: the queue serves no other activity store."""

    def enqueue(self, tasks: Sequence[Dispatch], **_: Any) -> list[Admission]:
        """Add tasks; each is ready at once."""
        with self._changed:
            for task in tasks:
                if task.task_id not in self.jobs:
                    self.jobs[task.task_id] = task
                    self._ready.append(task.task_id)
        self.wake()
        return [Admission.TAKEN] * len(tasks)

    def step(self, request: StepRequest) -> StepResult:
        """Finish and claim."""
        with self._changed:
            stale = tuple(f for f in request.finishes if self._tokens.get(f.task_id) != f.token)
            for finish in request.finishes:
                if finish not in stale:
                    del self._tokens[finish.task_id]
                    if finish.disposition in (Disposition.ACK, Disposition.DEAD_LETTER):
                        del self.jobs[finish.task_id]
                        self._results[finish.task_id] = finish.result
                    else:  # before other tasks with its lock key
                        self._ready.insert(0, finish.task_id)
            claims = tuple(self._claim(i, request.lowest_token) for i in self._next(request.want))
            self._changed.notify_all()
            canceled = frozenset(self._canceled & self._tokens.keys())
            return StepResult(claims=claims, stale=stale, expired=NONE, next_due=None, canceled=canceled)

    def _next(self, want: int) -> list[UUID]:
        """Up to `want` ready tasks by priority, at most one of each lock key that no claimed task has."""
        taken = {self.jobs[i].lock_key for i in self._tokens} - {None}
        found: list[UUID] = []
        for task_id in sorted(self._ready, key=lambda i: self.jobs[i].level):
            key = self.jobs[task_id].lock_key
            if len(found) < want and key not in taken:
                found.append(task_id)
                taken |= {key} - {None}
        return found

    def _claim(self, task_id: UUID, lowest_token: int) -> Claim:
        self._ready.remove(task_id)
        self._last_token = token = self._tokens[task_id] = max(self._last_token + 1, lowest_token)
        job = self.jobs[task_id]
        return Claim(task_id=task_id, token=token, payload=job.payload, partitioned=job.lock_key is not None)

    def lock(self, _claims: object) -> tuple[set[UUID], set[UUID]]:
        """Nothing: the client knows every lock key."""
        return set(), set()

    def release(self, _worker: str, leases: Tokens | None, **_: Any) -> Revocations:
        """Give tasks back, for None all of them."""
        with self._changed:
            for task_id in list(self._tokens if leases is None else leases):
                if self._tokens.pop(task_id, None) is not None:
                    self._ready.insert(0, task_id)
        return NONE

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Stop claimed tasks, remove the others."""
        with self._changed:
            claimed = [task_id in self._tokens for task_id in task_ids]
            self._canceled.update(task_ids)
            for task_id in set(task_ids) & set(self._ready):
                self._ready.remove(task_id)
                del self.jobs[task_id]
        self.wake()
        return claimed

    def result(self, task_id: UUID) -> str | None:
        """The result of a task as JSON text."""
        return self._results.get(task_id)

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Whether the queue has each task."""
        return [task_id in self.jobs for task_id in task_ids]

    def fail(self, error: BaseException) -> None:
        """Let every caller of `wait_until_empty` raise the first of these errors."""
        with self._changed:
            self._trouble = self._trouble or error
            self._changed.notify_all()

    def wait_until_empty(self) -> None:
        """Wait until all tasks are over; raises what ended the worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._trouble is not None or not self.jobs)
            if self._trouble is not None:
                raise self._trouble


class MemoryClient(Client):
    """A client with the tasks of some pools. `enqueued` are those that nothing has run."""

    def __init__(self, pools: Sequence[Pool], folder: Path) -> None:
        self.registry = pools[0].registry if len(pools) == 1 else Registry()
        for definition in [d for pool in pools for d in pool.registry.values()]:
            self.registry.add(definition)
        servers = {"database_url": f"sqlite:///{folder / 'record.db'}", "redis_url": NO_REDIS}
        super().__init__(settings=pools[0].settings.model_copy(update=servers), registry=self.registry)
        event.listen(self.engine, "connect", lambda link, _record: link.execute("PRAGMA synchronous=OFF"))
        create_schema(self.engine)
        policy = QueuePolicy.of(self.settings)
        self.tasks = LocalQueue(self.settings.queue_name, policy, self.results.client)
        self.queue = self.results = cast("Any", self.tasks)
        self._enqueuer = Enqueuer(self.engine, self.queue)

    @property
    def enqueued(self) -> list[Task]:
        """The tasks that were enqueued and are not over, in the order of their enqueue."""
        decoded = [(job.task_id, *decode_payload(job.payload)) for job in list(self.tasks.jobs.values())]
        return [Task(task_name=name, agent_id=i, context=context) for i, name, context in decoded]

    def queue_of(self, queue_name: str) -> Any:  # noqa: ARG002 - one queue stands for all
        return self.queue


@contextmanager
def in_memory(*pools: Pool) -> Iterator[MemoryClient]:
    """Let every call in the block use a client without servers, which records and enqueues and runs nothing.

    That is `ax.enqueue`, `pool.enqueue`, `ax.activity` and `ax.get_result`. The block is for one test of a process at a
    time. Raises `WrongArgument` for something else than pools.
    """
    with temporary_folder(pools) as folder, MemoryClient(pools, folder) as client, use_client(client):
        yield client


@contextmanager
def temporary_folder(pools: Sequence[Pool]) -> Iterator[Path]:
    """A folder for the record of these pools; raises `WrongArgument` for something else than pools."""
    for pool in pools or (None,):
        require(pool, Pool, "A test takes pools", "pass the pool whose tasks it enqueues")
    with TemporaryDirectory(prefix="agentexec-") as folder:
        yield Path(folder)
