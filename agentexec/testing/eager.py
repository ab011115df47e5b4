"""Tasks that run where they are enqueued: with the worker's own loop and runner, SQLite, and no Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack, cast

from pydantic import BaseModel
from sqlalchemy import event
from sqlalchemy.orm import Session

from agentexec.activity.querying import detail
from agentexec.activity.schemas import ActivityLogSchema
from agentexec.context import current
from agentexec.core.db import create_schema
from agentexec.errors import AgentexecError, require
from agentexec.producer.client import Client, use_client
from agentexec.producer.enqueuer import Enqueuer
from agentexec.producer.result_types import result_type_of, typed
from agentexec.queue.protocol import QueuePolicy
from agentexec.store.status import Status
from agentexec.task import EnqueueOptions, Registry, Task, TaskRequest
from agentexec.testing.queue import EagerQueue
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.pool import Pool
from agentexec.worker.run_result import RunKind

WATCH_EVERY = 0.05  # seconds between two looks for a handler past its hard time limit
NO_REDIS = "redis://127.0.0.1:1"  # a port on which nothing listens


class EagerClient(Client):
    """A client whose enqueue returns when its tasks, and those that they enqueue, are over.

    From a handler, enqueue returns at once, as in production: the task may wait for the handler's lock key.
    """

    def __init__(self, pools: Sequence[Pool], folder: Path, event_loop: asyncio.AbstractEventLoop) -> None:
        first = pools[0]
        update = {"database_url": f"sqlite:///{folder / 'record.db'}", "redis_url": NO_REDIS}
        registry = first.registry if len(pools) == 1 else Registry()
        for pool in pools if len(pools) > 1 else ():
            for definition in pool.registry.values():
                registry.add(definition)
        super().__init__(settings=first.settings.model_copy(update=update), registry=registry)
        event.listen(self.engine, "connect", _without_fsync)
        create_schema(self.engine)
        self.tasks = EagerQueue(self.settings.queue_name, QueuePolicy.of(self.settings))
        self.queue = cast("Any", self.tasks)
        self._enqueuer = Enqueuer(self.engine, self.queue)
        self.worker_loop = WorkerLoop(
            worker="eager",
            queue=self.queue,
            engine=self.engine,
            settings=self.settings,
            registry=registry,
            event_loop=event_loop,
        )
        self.tasks.wake = self.worker_loop.wake

    async def enqueue_many(self, requests: Sequence[TaskRequest]) -> list[Task]:
        found = await super().enqueue_many(requests)
        if current.get(None) is None:
            await asyncio.to_thread(self.tasks.wait_until_empty)
        return found

    def enqueue_many_sync(self, requests: Sequence[TaskRequest]) -> list[Task]:
        if current.get(None) is not None:
            return super().enqueue_many_sync(requests)
        if _running_loop() is self.worker_loop.event_loop:
            raise AgentexecError(
                "This event loop runs the handlers of the eager block, so it must not wait for them; "
                "write `await ax.enqueue(...)`."
            )
        found = super().enqueue_many_sync(requests)
        self.tasks.wait_until_empty()
        return found

    def queue_of(self, queue_name: str) -> Any:  # noqa: ARG002 - one queue stands for all
        return self.queue

    def work(self) -> None:
        """Run tasks until `stop`; for a thread of its own."""
        try:
            self.worker_loop.run()
        except BaseException as error:  # noqa: BLE001 - those that wait for it raise it
            self.tasks.fail(error)

    def watch(self, over: threading.Event) -> None:
        """End the tasks past their hard time limit until `over` is set; for a thread of its own."""
        while not over.wait(WATCH_EVERY):
            for result in self.worker_loop.runner.overdue():
                self.worker_loop.ended(result)
                self.worker_loop.runner.stop({result.task_id: RunKind.LOST})

    def stop(self) -> None:
        """Let the worker end without waiting for handlers."""
        self.worker_loop.drain()
        self.worker_loop.runner.stop(dict.fromkeys(self.worker_loop.leases.tokens(), RunKind.RELEASED))
        self.worker_loop.release_all()


@contextmanager
def eager(*pools: Pool) -> Iterator[EagerClient]:
    """Let every enqueue in the block run the tasks of these pools at once; yields the client that does it.

    In the block, `ax.enqueue`, `pool.enqueue`, `ax.get_result` and `ax.activity` use this client: its record is SQLite
    in a temporary file, and there is no Redis. Handlers run on the event loop of the caller if there is one, otherwise
    on a loop in a thread. No delay is waited for, neither that of a task nor that of a retry. The block is for one test
    of a process at a time. Raises `WrongArgument` for something else than a pool.
    """
    for pool in pools or (None,):
        require(pool, Pool, "eager takes pools", "pass the pool whose tasks the test runs")
    loop = _running_loop()
    with _loop_in_a_thread() if loop is None else _kept(loop) as event_loop:
        with _eager(pools, event_loop) as client:
            yield client


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a task ended. `result` is of the type that its handler's annotation names."""

    task: Task
    status: Status
    result: Any
    error: str | None
    attempts: int
    log: list[ActivityLogSchema]


def run(pool: Pool, task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]) -> Outcome:
    """Run one task of a pool as a worker does, with its retries and limits, and those that it enqueues.

    Blocks; the handler runs on an event loop in a thread. Raises what enqueue raises.
    """
    require(pool, Pool, "run takes a pool first", "pass the pool whose task the test runs")
    with _loop_in_a_thread() as loop, _eager([pool], loop) as client:
        task = client.enqueue_sync(task_name, context, **options)
        with Session(client.engine) as session:
            found = detail(session, task.agent_id)
    assert found is not None
    definition = pool.registry.get(task_name)
    kind = None if definition is None else result_type_of(definition)
    return Outcome(
        task=task,
        status=found.status,
        result=typed(found.result, kind),
        error=found.error,
        attempts=found.attempt,
        log=found.logs,
    )


@contextmanager
def _eager(pools: Sequence[Pool], event_loop: asyncio.AbstractEventLoop) -> Iterator[EagerClient]:
    over = threading.Event()
    with TemporaryDirectory(prefix="agentexec-") as folder:
        with EagerClient(pools, Path(folder), event_loop) as client:
            threads = [
                threading.Thread(target=client.work, name="agentexec-eager", daemon=True),
                threading.Thread(
                    target=client.watch, args=(over,), name="agentexec-eager-watch", daemon=True
                ),
            ]
            for thread in threads:
                thread.start()
            try:
                with use_client(client):
                    yield client
            finally:
                over.set()
                client.stop()
                for thread in threads:
                    thread.join()


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="agentexec-eager-handlers", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _kept(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.AbstractEventLoop]:
    yield loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _without_fsync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
