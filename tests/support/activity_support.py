"""A client over SQLite and fakeredis, and the moves of a worker without one, for the tests of the activity API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import fakeredis
import redis
from pydantic import BaseModel
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec.activity import Activity, ActivityLog
from agentexec.core.db import create_schema
from agentexec.identifiers import new_id
from agentexec.producer.client import use_client
from agentexec.producer.enqueuer import Enqueuer
from agentexec.queue.protocol import StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.store.rows import ActivityUpdate, LogEntry, Start
from agentexec.store.status import Status


class Message(BaseModel):
    """A context whose content does not matter."""

    text: str = "hello"


class Fake(fakeredis.FakeRedis):
    """A fakeredis that answers INFO as agentexec expects, which fakeredis itself does not."""

    def info(self, *_sections: str) -> dict[str, str]:  # type: ignore[override]  # nothing here is asynchronous
        return {"redis_version": "7.0.0", "maxmemory_policy": "noeviction"}


def fake_client(folder: Path, name: str = "") -> ax.Client:
    """A client over a SQLite file with agentexec's tables and its own fakeredis."""
    settings = ax.Settings(
        database_url=f"sqlite:///{folder / 'record.db'}",
        redis_url="redis://127.0.0.1:1/0",
        queue_name=name or f"fake-{uuid4().hex}",
    )
    client = ax.Client(settings=settings)
    create_schema(client.engine)
    use_redis(client, Fake(server=fakeredis.FakeServer(version=(7, 0))))
    epoch = client.queue.begin_rebuild(new_id().hex)  # as the first pool does
    assert epoch is not None
    client.queue.end_rebuild(epoch)
    return client


def use_redis(client: ax.Client, connection: redis.Redis) -> None:
    """Give a client that was not used yet another Redis."""
    client.redis = connection
    client.queue = RedisQueue(connection, client.settings.queue_name)
    client._enqueuer = Enqueuer(client.engine, client.queue)


@contextmanager
def as_default(client: ax.Client) -> Iterator[ax.Client]:
    """Let `agentexec.activity` and `agentexec.enqueue` use this client; closes it in the end."""
    try:
        with use_client(client):
            yield client
    finally:
        client.close()


def claim(client: ax.Client, want: int = 1, worker: str = "w") -> list[tuple[UUID, int]]:
    """Claim and start tasks as a worker does; returns ids and tokens."""
    answer = client.queue.step(StepRequest(worker=worker, nonce=uuid4().hex, want=want))
    tokens = {c.task_id: c.token for c in answer.claims}
    with client.engine.begin() as connection:
        started, _ = statements.record_batch(
            connection, [Start(i, token, "Task started.") for i, token in tokens.items()], []
        )
    return [(i, tokens[i]) for i in started]


def finish(client: ax.Client, task_id: UUID, token: int, status: Status = Status.COMPLETE) -> Status | None:
    """End a run in the record as a worker does; None where the record refused it."""
    outcome = ActivityUpdate(id=task_id, token=token, n=10, status=status, message="Ended.")
    with client.engine.begin() as connection:
        return statements.record_batch(connection, [], [outcome])[1].get(task_id)


def progress(client: ax.Client, task_id: UUID, token: int, n: int, message: str) -> None:
    """Report progress as a worker does."""
    with client.engine.begin() as connection:
        statements.record_progress(connection, [LogEntry(id=task_id, token=token, n=n, message=message)])


def age(engine: Engine, by: timedelta, *ids: UUID) -> None:
    """Move the times of activities back by that much; of all if none are named."""
    then = datetime.now(UTC) - by
    change = update(Activity).values(created_at=then, updated_at=then, dispatched_at=then)
    with engine.begin() as connection:
        connection.execute(change.where(Activity.id.in_(ids)) if ids else change)


def status_of(engine: Engine, task_id: UUID) -> str:
    """Where an activity stands."""
    with engine.connect() as connection:
        query = select(Activity.status).where(Activity.id == task_id)
        return str(connection.execute(query).scalar_one().value)


def log_of(engine: Engine, task_id: UUID) -> list[tuple[int, int, str, str]]:
    """Its log in order: fence, n, status, message."""
    columns = (ActivityLog.fence, ActivityLog.n, ActivityLog.status, ActivityLog.message)
    query = select(*columns).where(ActivityLog.activity_id == task_id)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(ActivityLog.fence, ActivityLog.n)).all()
    return [(row.fence, row.n, row.status.value, row.message) for row in rows]


def all_activities(engine: Engine) -> list[Any]:
    """Every activity, with its log loaded."""
    with Session(engine) as session:
        return list(session.query(Activity).all())
