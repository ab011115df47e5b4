"""The I/O thread of a worker on fakes: what it writes when events of several threads coincide."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

import fakeredis
import pytest
from pydantic import BaseModel
from sqlalchemy import Engine

import agentexec as ax
from agentexec.config import load_settings
from agentexec.queue.protocol import Dispatch, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.store.status import Status
from agentexec.task import Registry, TaskDefinition
from agentexec.text import MAX_MESSAGE
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.progress import MAX_CHARACTERS, MAX_ENTRIES
from agentexec.worker.recording import Batch, record
from agentexec.worker.run_result import RunKind, RunResult
from agentexec.worker.runner import HandlerRun
from tests.support.record import new_activity, require_sound, row_of, starts

TOKEN = 5


class Order(BaseModel):
    """The context of the tasks here."""


@pytest.fixture
def worker_loop(engine: Engine, redis: fakeredis.FakeRedis) -> Iterator[WorkerLoop]:
    settings = load_settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    loop = asyncio.new_event_loop()
    registry = Registry()
    yield WorkerLoop(
        worker="w",
        queue=RedisQueue(redis, "unit"),
        engine=engine,
        settings=settings,
        registry=registry,
        event_loop=loop,
    )
    loop.close()


def running(worker_loop: WorkerLoop, engine: Engine) -> UUID:
    """A task that this worker holds and has started."""
    activity = new_activity()
    with engine.begin() as connection:
        statements.record_enqueued(connection, [activity])
        statements.record_batch(connection, starts({activity.id: TOKEN}), [])
    worker_loop.leases.add(activity.id, TOKEN)
    return activity.id


def ended(task: UUID, kind: RunKind, token: int = TOKEN) -> RunResult:
    return RunResult(task_id=task, token=token, kind=kind)


@pytest.mark.invariant("I8")
def test_what_is_reported_after_the_end_of_a_run_is_left_out(worker_loop: WorkerLoop, engine: Engine) -> None:
    """Taken in, it could only follow the last entry, or leave a hole before it."""
    task = running(worker_loop, engine)
    worker_loop.progress(task, TOKEN, "half", 50)
    worker_loop.ended(ended(task, RunKind.COMPLETE))
    worker_loop.progress(task, TOKEN, "too late", 99)
    worker_loop.drain()
    worker_loop.run()
    row = row_of(engine, task)
    require_sound(row)
    assert [entry.message for entry in row.log[2:]] == ["half", "Task completed successfully."]


def test_only_the_first_end_of_a_run_is_written(worker_loop: WorkerLoop, engine: Engine) -> None:
    task = running(worker_loop, engine)
    worker_loop.ended(ended(task, RunKind.RELEASED))
    worker_loop.ended(ended(task, RunKind.COMPLETE))
    worker_loop.drain()
    worker_loop.run()
    row = row_of(engine, task)
    require_sound(row)
    assert row.status == "queued"
    assert worker_loop.finished == 1


def test_nothing_is_written_of_a_run_that_lost_its_lease(worker_loop: WorkerLoop, engine: Engine) -> None:
    task = running(worker_loop, engine)
    before = row_of(engine, task)
    worker_loop.ended(ended(task, RunKind.LOST))
    worker_loop.ended(ended(task, RunKind.COMPLETE, token=TOKEN - 1))
    worker_loop.drain()
    worker_loop.run()
    assert row_of(engine, task) == before
    assert len(worker_loop.leases) == 0


def test_a_refused_result_is_not_readable(worker_loop: WorkerLoop, engine: Engine) -> None:
    """Its activity was canceled from outside. The queue keeps results whatever the record says of their runs."""
    refused, accepted = running(worker_loop, engine), running(worker_loop, engine)
    with engine.begin() as connection:
        statements.record_terminated(connection, {refused: TOKEN + 1}, Status.CANCELED, "Over.")
    for task in (refused, accepted):
        worker_loop.ended(replace(ended(task, RunKind.COMPLETE), result=1, encoded="1"))
    worker_loop.drain()
    worker_loop.run()
    assert [worker_loop.queue.result(task) for task in (refused, accepted)] == [None, "1"]


@pytest.mark.invariant("I8")
def test_progress_in_a_loop_is_limited_and_its_newest_entry_is_kept(
    worker_loop: WorkerLoop, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that reports in a loop filled the memory of its worker, and delayed all other tasks."""
    task, neighbor = running(worker_loop, engine), running(worker_loop, engine)
    worker_loop.progress(neighbor, TOKEN, "half", 50)
    for number in range(100_000):
        worker_loop.progress(task, TOKEN, f"step {number}", number // 1000)
    worker_loop.ended(ended(task, RunKind.COMPLETE))
    worker_loop.progress(task, TOKEN, "too late", 99)
    worker_loop.drain()
    worker_loop.ended(ended(neighbor, RunKind.COMPLETE))
    worker_loop.run()
    row = row_of(engine, task)
    require_sound(row)
    messages = [entry.message for entry in row.log[2:-1]]
    assert messages == [f"step {number}" for number in (*range(MAX_ENTRIES - 1), 99_999)]
    assert [entry.message for entry in row_of(engine, neighbor).log[2:-1]] == ["half"]
    assert [record.getMessage() for record in caplog.records if "replaced" in record.getMessage()] == [
        f"task {task} reports faster than its worker records: 99900 entries were replaced by newer ones"
    ]


def test_progress_is_limited_in_bytes_too(worker_loop: WorkerLoop, engine: Engine) -> None:
    task = running(worker_loop, engine)
    for number in range(1_000):
        worker_loop.progress(task, TOKEN, f"{number} " + "x" * (MAX_MESSAGE - 5), None)
    worker_loop.ended(ended(task, RunKind.COMPLETE))
    worker_loop.drain()
    worker_loop.run()
    row = row_of(engine, task)
    require_sound(row)
    messages = [entry.message for entry in row.log[2:-1]]
    assert sum(map(len, messages)) <= MAX_CHARACTERS + MAX_MESSAGE
    assert messages[-1].startswith("999 ")


def test_each_batch_has_room_for_progress_again(worker_loop: WorkerLoop, engine: Engine) -> None:
    task = running(worker_loop, engine)
    for part in range(3):
        for number in range(2 * MAX_ENTRIES):
            worker_loop.progress(task, TOKEN, f"{part}: {number}", None)
        batch, _ = worker_loop._collect()
        assert len(batch.entries) == MAX_ENTRIES
        assert [entry.n for entry in batch.entries] == [
            1 + part * MAX_ENTRIES + n for n in range(MAX_ENTRIES)
        ]


def test_a_task_whose_lease_is_given_up_while_its_start_is_settled_does_not_run(
    client: ax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewer gives leases up and stops their handlers; these may begin a moment later."""
    ran: list[UUID] = []
    registry, loop = Registry(), asyncio.new_event_loop()

    async def note(agent_id: UUID, context: Order) -> None:
        ran.append(agent_id)

    registry.add(TaskDefinition("note", note))
    worker_loop = WorkerLoop(
        worker="w",
        queue=client.queue,
        engine=client.engine,
        settings=client.settings,
        registry=registry,
        event_loop=loop,
    )
    given_up, kept = (client.enqueue_sync("note", Order()).agent_id for _ in range(2))
    begin = worker_loop.runner.begin

    def begin_late(runs: Sequence[HandlerRun]) -> None:
        worker_loop.leases.remove(given_up, worker_loop.leases.tokens()[given_up])
        worker_loop.runner.stop({given_up: RunKind.LOST})
        begin(runs)

    monkeypatch.setattr(worker_loop.runner, "begin", begin_late)
    worker_loop._step()
    batch, results = worker_loop._collect()
    worker_loop._settle(batch, results, record(worker_loop._retrying, batch, client.settings, worker="w"))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert ran == [kept]


def test_a_task_that_was_released_before_its_start_was_recorded_does_not_run(
    client: ax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would run here and elsewhere at once."""
    loop = asyncio.new_event_loop()
    worker_loop = WorkerLoop(
        worker="w",
        queue=client.queue,
        engine=client.engine,
        settings=client.settings,
        registry=Registry(),
        event_loop=loop,
    )
    client.enqueue_sync("note", Order())
    begun: list[HandlerRun] = []
    monkeypatch.setattr(worker_loop.runner, "begin", begun.extend)
    (claim,) = client.queue.step(StepRequest(worker="w", nonce="n", want=1)).claims
    worker_loop.leases.add(claim.task_id, claim.token)
    recorded = record(worker_loop._retrying, batch := Batch(claims=[claim]), client.settings, worker="w")
    worker_loop.release_all()
    worker_loop._settle(batch, [], recorded)
    loop.close()
    assert begun == []


def test_a_worker_whose_start_was_refused_requests_a_token_above_the_fence_of_the_row(
    worker_loop: WorkerLoop, engine: Engine
) -> None:
    """The clock of the queue is behind that of the server that issued the fence."""
    activity, fence = new_activity(), time.time_ns() // 1000 + 1_000_000_000
    with engine.begin() as connection:
        statements.record_enqueued(connection, [activity])
        statements.record_batch(connection, starts({activity.id: fence}), [])
        statements.record_revoked(connection, {activity.id: fence}, Status.QUEUED, "Its lease expired.")
    worker_loop.queue.enqueue([Dispatch(task_id=activity.id, payload=b"{}", level=0)])
    worker_loop._step()
    batch, results = worker_loop._collect()
    recorded = record(worker_loop._retrying, batch, worker_loop.settings, worker=worker_loop.worker)
    worker_loop._settle(batch, results, recorded)
    worker_loop._step()
    assert worker_loop.leases.tokens() == {activity.id: fence + 1}
