"""Tasks that run where they are enqueued: with the worker's own loop and runner, SQLite, and no Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Unpack

from pydantic import BaseModel
from sqlalchemy.orm import Session

from agentexec.activity.querying import detail
from agentexec.activity.schemas import ActivityDetailSchema
from agentexec.context import current
from agentexec.errors import AgentexecError
from agentexec.producer.client import use_client
from agentexec.producer.result_types import result_type_of, typed
from agentexec.task import EnqueueOptions, Task, TaskRequest
from agentexec.testing.memory import MemoryClient, temporary_folder
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.pool import Pool
from agentexec.worker.run_result import RunKind

WATCH_EVERY = 0.05  # seconds between two looks for a handler past its hard time limit


class EagerClient(MemoryClient):
    """A client whose enqueue returns when its tasks, and those that they enqueue, are over.

    From a handler, enqueue returns at once, as in production: the task may wait for the handler's lock key.
    """

    def __init__(self, pools: Sequence[Pool], folder: Path, event_loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(pools, folder)
        self.worker_loop = WorkerLoop(
            worker="eager",
            queue=self.queue,
            engine=self.engine,
            settings=self.settings,
            registry=self.registry,
            event_loop=event_loop,
        )
        self.tasks.wake = self.worker_loop.wake

    async def enqueue_many(self, requests: Sequence[TaskRequest]) -> list[Task]:
        found = await super().enqueue_many(requests)
        if current.get(None) is None:
            await asyncio.to_thread(self.tasks.wait_until_empty)
        return found

    def enqueue_many_sync(self, requests: Sequence[TaskRequest]) -> list[Task]:
        in_handler = current.get(None) is not None
        if not in_handler and _running_loop() is self.worker_loop.event_loop:
            raise AgentexecError(
                "This event loop runs the handlers of the eager block, so it must not wait for them; "
                "write `await ax.enqueue(...)`."
            )
        found = super().enqueue_many_sync(requests)
        if not in_handler:
            self.tasks.wait_until_empty()
        return found

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run tasks in a `with` block; its end does not wait for handlers."""
        over, loop = threading.Event(), self.worker_loop
        threads = [threading.Thread(target=self._work), threading.Thread(target=self._watch, args=(over,))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            loop.drain()
            loop.runner.stop(dict.fromkeys(loop.leases.tokens(), RunKind.RELEASED))
            loop.release_all()
            self.tasks.fail(AgentexecError("The block of the test is over, and a task of it is not."))
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        try:
            self.worker_loop.run()
        except BaseException as error:  # noqa: BLE001 - those that wait for it raise it
            self.tasks.fail(error)

    def _watch(self, over: threading.Event) -> None:
        """End the tasks past their hard time limit."""
        while not over.wait(WATCH_EVERY):
            for result in self.worker_loop.runner.overdue():
                self.worker_loop.ended(result)
                self.worker_loop.runner.stop({result.task_id: RunKind.LOST})


def eager(*pools: Pool) -> AbstractContextManager[EagerClient]:
    """`in_memory`, and every enqueue in the block runs the tasks of these pools at once.

    Handlers run on the event loop of the caller if there is one, otherwise on a loop in a thread. No delay is waited
    for, neither that of a task nor that of a retry. Raises `WrongArgument` for something else than pools.
    """
    here = _running_loop()
    return _working(pools, _loop_in_a_thread() if here is None else nullcontext(here))


def run(
    pool: Pool, task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]
) -> ActivityDetailSchema:
    """Run one task of a pool as a worker does, with its retries and limits, and those that it enqueues.

    Returns its activity, with the result as the type that the handler's annotation names. Blocks; the handler runs on
    an event loop in a thread. Raises what enqueue raises.
    """
    with _working([pool], _loop_in_a_thread()) as client:
        task = client.enqueue_sync(task_name, context, **options)
        with Session(client.engine) as session:
            found = detail(session, task.agent_id)
    assert found is not None
    definition = pool.registry.get(task_name)
    found.result = found.result if definition is None else typed(found.result, result_type_of(definition))
    return found


@contextmanager
def _working(
    pools: Sequence[Pool], event_loop: AbstractContextManager[asyncio.AbstractEventLoop]
) -> Iterator[EagerClient]:
    with (
        temporary_folder(pools) as folder,
        event_loop as loop,
        EagerClient(pools, folder, loop) as client,
        client.working(),
        use_client(client),
    ):
        yield client


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
