"""A task that becomes a dead letter is logged once, with its id and its reason, whatever the cause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import delete, update

import agentexec as ax
from agentexec.activity import Activity
from agentexec.producer.requeue import requeue
from agentexec.queue.dead_letters import DeadLetters
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from agentexec.task import Registry, TaskDefinition
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.recording import record
from agentexec.worker.run_result import RunKind, RunResult
from tests.support.activity_support import Message, claim
from tests.support.queue_contents import RedisInspector


class Told(BaseModel):
    """What a handler of these tests takes."""

    text: str = ""


async def talk(agent_id: UUID, context: Told) -> None: ...


@pytest.fixture
def worker_loop(client: ax.Client) -> Iterator[WorkerLoop]:
    """A worker that runs no handler: the test says how each run ended."""
    registry, loop = Registry(), asyncio.new_event_loop()
    registry.add(TaskDefinition("talk", talk))
    yield WorkerLoop(
        worker="w",
        queue=client.queue,
        engine=client.engine,
        settings=client.settings,
        registry=registry,
        event_loop=loop,
    )
    loop.close()


def logged(caplog: pytest.LogCaptureFixture, task: object) -> list[str]:
    """The log entries about a dead letter under this id."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.ERROR
        and "dead letter" in record.getMessage()
        and str(task) in record.getMessage()
    ]


def test_a_handler_that_failed_for_good(
    client: ax.Client, worker_loop: WorkerLoop, caplog: pytest.LogCaptureFixture
) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    [(_, token)] = claim(client)
    worker_loop.leases.add(task, token)
    worker_loop.ended(
        RunResult(task_id=task, token=token, kind=RunKind.FAILED, error="ValueError: no", task_name="talk")
    )
    worker_loop.drain()
    worker_loop.run()
    (line,) = logged(caplog, task)
    assert "talk" in line
    assert "ValueError: no" in line


def test_a_task_whose_workers_died(client: ax.Client, caplog: pytest.LogCaptureFixture) -> None:
    client.queue.agree({"max_crashes": "0"})
    task = client.enqueue_sync("talk", Message()).agent_id
    claim(client)
    reconciler = Reconciler(client.engine, client.queue, client.settings)
    for _ in range(2):
        reconciler.release_worker("w", charge=True)
    compare(client)
    (line,) = logged(caplog, task)
    assert "talk" in line
    assert "died" in line


def test_a_task_whose_lease_expired_too_often(
    client: ax.Client, worker_loop: WorkerLoop, caplog: pytest.LogCaptureFixture
) -> None:
    client.queue.agree({"max_crashes": "0"})
    task = client.enqueue_sync("talk", Message()).agent_id
    claim(client, worker="silent")
    RedisInspector(client.queue).expire(task)
    worker_loop.drain()
    worker_loop.run()
    compare(client)
    assert len(logged(caplog, task)) == 1


@pytest.mark.parametrize("finder", ["comparison", "requeue"])
def test_a_dead_letter_that_was_not_recorded(
    client: ax.Client, caplog: pytest.LogCaptureFixture, finder: str
) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    [(_, token)] = claim(client)
    end = Finish(task_id=task, token=token, disposition=Disposition.DEAD_LETTER, reason="ValueError: no")
    client.queue.step(StepRequest(worker="w", nonce=uuid4().hex, finishes=[end]))
    if finder == "requeue":
        requeue(client, task)
    compare(client)
    (line,) = logged(caplog, task)
    assert "talk" in line
    assert "ValueError: no" in line


def test_a_task_without_an_activity(
    client: ax.Client, worker_loop: WorkerLoop, caplog: pytest.LogCaptureFixture
) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    with client.engine.begin() as connection:
        connection.execute(delete(Activity))
    worker_loop._step()
    settle(worker_loop)
    (line,) = logged(caplog, task)
    assert "no activity is recorded" in line


def test_a_task_that_cannot_start_is_a_dead_letter_in_the_record_too(
    client: ax.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise an operator does not find it after Redis has lost its contents."""
    registry, loop = Registry(), asyncio.new_event_loop()
    registry.add(TaskDefinition("talk", talk, lock_key="k-{text}"))
    worker_loop = WorkerLoop(
        worker="w",
        queue=client.queue,
        engine=client.engine,
        settings=client.settings,
        registry=registry,
        event_loop=loop,
    )
    task = client.enqueue_sync("talk", Told(text="x" * 300)).agent_id
    worker_loop._step()
    settle(worker_loop)
    worker_loop._step()
    loop.close()
    client.redis.flushall()
    letter = DeadLetters(client.queue, client.engine).get(task)
    assert letter is not None
    assert "has 1 to 255 characters" in letter.reason


def test_a_text_that_is_no_id(
    client: ax.Client, worker_loop: WorkerLoop, caplog: pytest.LogCaptureFixture
) -> None:
    client.redis.rpush(client.queue.keys.ready[1], "scribble")
    worker_loop._step()
    (line,) = logged(caplog, "scribble")
    assert "not the id of a task" in line


def settle(worker_loop: WorkerLoop) -> None:
    """Record what the worker has claimed, and act on it."""
    batch, results = worker_loop._collect()
    recorded = record(worker_loop._retrying, batch, worker_loop.settings, worker="w")
    worker_loop._settle(batch, results, recorded)


def compare(client: ax.Client) -> None:
    """Two full passes of a pool, of rows that are old enough."""
    with client.engine.begin() as connection:
        connection.execute(update(Activity).values(created_at=datetime(2020, 1, 1, tzinfo=UTC)))
    reconciler = Reconciler(client.engine, client.queue, client.settings)
    for _ in range(2):
        reconciler.run_round(full_pass=True)
