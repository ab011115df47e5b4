"""Broken connections of a producer cause no error for its callers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

import agentexec as ax
from tests.support.record import row_of

pytestmark = pytest.mark.integration


class Job(BaseModel):
    value: int = 0


@pytest.fixture
def client(client: ax.Client) -> ax.Client:
    """A client whose connections are open already."""
    client.enqueue_sync("job", Job())
    return client


def test_connections_that_broke_while_idle_cost_no_enqueue(client: ax.Client) -> None:
    break_every_connection(client)
    task = client.enqueue_sync("job", Job(value=1))
    assert row_of(client.engine, task.agent_id).status == "queued"
    assert client.queue.known([task.agent_id]) == [True]


def test_a_connection_that_breaks_after_the_commit_records_the_task_once(client: ax.Client) -> None:
    broken: list[int] = []

    # Between the server's answer and ours, once: what a network does at the worst moment.
    @event.listens_for(client._recording, "after_cursor_execute")
    def lose_the_answer(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT" in statement and not broken:
            broken.append(1)
            raise lost(connection)

    task = client.enqueue_sync("job", Job(value=2), idempotency_key=f"once-{client.queue.name}")
    assert broken
    assert row_of(client.engine, task.agent_id).status == "queued"
    with client.engine.connect() as connection:
        query = text("SELECT count(*) FROM agentexec_activity WHERE queue_name = :queue")
        assert connection.execute(query, {"queue": client.queue.name}).scalar_one() == 2


def test_a_conflict_leaves_no_task_of_its_call_on_postgres_and_every_task_of_the_others(
    client: ax.Client,
) -> None:
    taken, free = f"taken-{client.queue.name}", f"free-{client.queue.name}"
    client.enqueue_sync("job", Job(), idempotency_key=taken)

    async def scene() -> list[Any]:
        requests = [
            ax.TaskRequest(task_name="job", context=Job(), idempotency_key=free),
            ax.TaskRequest(task_name="other", context=Job(), idempotency_key=taken),
        ]
        others = [client.enqueue("job", Job(value=n)) for n in range(10)]
        return await asyncio.gather(client.enqueue_many(requests), *others, return_exceptions=True)

    refused, *others = asyncio.run(scene())
    assert isinstance(refused, ax.IdempotencyConflict)
    assert client.queue.known([task.agent_id for task in others]) == [True] * 10
    assert client.queue.depth().known == 12
    with client.engine.connect() as connection:
        query = text("SELECT count(*) FROM agentexec_activity WHERE queue_name = :queue")
        assert connection.execute(query, {"queue": client.queue.name}).scalar_one() == 12


def test_a_database_that_stays_away_raises_to_the_caller(client: ax.Client) -> None:
    @event.listens_for(client._recording, "before_cursor_execute")
    def refuse(connection: Connection, *_: Any) -> None:
        raise lost(connection)

    with pytest.raises(DBAPIError):
        client.enqueue_sync("job", Job(value=3))


def lost(connection: Connection) -> DBAPIError:
    """What SQLAlchemy raises where a connection breaks in the middle of a statement; the connection is useless then."""
    connection.invalidate()
    return DBAPIError("", None, Exception("the connection is lost"), connection_invalidated=True)


def break_every_connection(client: ax.Client) -> None:
    """End every connection of the server except the one that sends this query."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = :name"
    name = client.engine.url.database
    with client.engine.connect() as connection:
        assert all(connection.execute(text(others), {"name": name}).scalars().all())
