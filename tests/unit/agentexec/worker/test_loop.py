"""The I/O thread of a worker on fakes: what it writes when events of several threads coincide."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID

import fakeredis
import pytest
from sqlalchemy import Engine

from agentexec.config import load_settings
from agentexec.core.db import create_schema, engine_for
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.task import Registry
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.runner import End, Ended, HandlerRunner
from tests.support.record import new_activity, require_sound, row_of, starts

TOKEN = 5


@pytest.fixture
def database() -> Iterator[Engine]:
    database = engine_for("sqlite://")
    create_schema(database)
    yield database
    database.dispose()


@pytest.fixture
def engine(database: Engine) -> Iterator[WorkerLoop]:
    settings = load_settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    loop = asyncio.new_event_loop()
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
    registry = Registry()
    yield WorkerLoop(
        worker="w",
        queue=RedisQueue(client, "unit"),
        database=database,
        settings=settings,
        host=HandlerRunner(registry, settings, loop),
        registry=registry,
    )
    client.close()
    loop.close()


def running(engine: WorkerLoop, database: Engine) -> UUID:
    """A task that this worker holds and has started."""
    activity = new_activity()
    with database.begin() as connection:
        statements.record_enqueued(connection, [activity])
        statements.record_batch(connection, starts({activity.id: TOKEN}), [])
    engine.ledger.take(activity.id, TOKEN)
    return activity.id


def ended(task: UUID, end: End, token: int = TOKEN) -> Ended:
    return Ended(task_id=task, token=token, end=end)


@pytest.mark.invariant("I8")
def test_what_is_reported_after_the_end_of_a_run_is_left_out(engine: WorkerLoop, database: Engine) -> None:
    """Taken in, it could only follow the last entry, or leave a hole before it."""
    task = running(engine, database)
    engine.progress(task, TOKEN, "half", 50)
    engine.ended(ended(task, End.COMPLETE))
    engine.progress(task, TOKEN, "too late", 99)
    engine.drain()
    engine.run()
    row = row_of(database, task)
    require_sound(row)
    assert [entry.message for entry in row.log[2:]] == ["half", "Task completed successfully."]


def test_only_the_first_end_of_a_run_is_written(engine: WorkerLoop, database: Engine) -> None:
    task = running(engine, database)
    engine.ended(ended(task, End.RELEASED))
    engine.ended(ended(task, End.COMPLETE))
    engine.drain()
    engine.run()
    row = row_of(database, task)
    require_sound(row)
    assert row.status == "queued"


def test_nothing_is_written_of_a_run_that_lost_its_lease(engine: WorkerLoop, database: Engine) -> None:
    task = running(engine, database)
    before = row_of(database, task)
    engine.ended(ended(task, End.LOST))
    engine.ended(ended(task, End.COMPLETE, token=TOKEN - 1))
    engine.drain()
    engine.run()
    assert row_of(database, task) == before
    assert len(engine.ledger) == 0
