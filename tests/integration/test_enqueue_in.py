"""A task that is enqueued in the caller's own transaction: it is there with the commit, and never without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import fakeredis
import pytest
from sqlalchemy import Connection, Engine, create_engine, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import agentexec as ax
from agentexec.core.db import create_schema, engine_for
from agentexec.errors import ConfigurationError, InvalidTask, WrongArgument
from agentexec.producer.client import use_client
from agentexec.store.models import Activity
from agentexec.worker.reconciler import Reconciler
from harness.environments.embedded import EmbeddedEnvironment
from tests.conftest import Eventually
from tests.support.activity_support import Fake, Message, age, use_redis
from tests.support.pool_process import App, Job
from tests.support.record import row_of, rows_of

pytestmark = pytest.mark.integration

OLD = timedelta(minutes=1)


@pytest.fixture(params=["postgresql", "sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'record.db'}"
    servers: EmbeddedEnvironment = request.getfixturevalue("servers")
    return servers.endpoints.database_url


@pytest.fixture
def client(database_url: str) -> Iterator[ax.Client]:
    """A client with a queue of its own in fakeredis, which stands for that of this process."""
    queue = f"in-{uuid4().hex}"
    settings = ax.Settings(database_url=database_url, redis_url="redis://127.0.0.1:1", queue_name=queue)
    with ax.Client(settings=settings) as client, use_client(client):
        create_schema(client.engine)
        use_redis(client, Fake(server=fakeredis.FakeServer(version=(7, 0))))
        yield client


@pytest.fixture
def mine(database_url: str) -> Iterator[Engine]:
    """An engine of the application, as SQLAlchemy makes it."""
    engine = create_engine(engine_for(database_url).url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS orders_of_enqueue_in (number integer)"))
        connection.execute(text("DELETE FROM orders_of_enqueue_in"))
    yield engine
    engine.dispose()


@pytest.fixture
def reconciler(client: ax.Client) -> Reconciler:
    reconciler = Reconciler(client.engine, client.queue, client.settings)
    reconciler.run_round(full_pass=False)
    return reconciler


def order(connection: Session | Connection) -> None:
    connection.execute(text("INSERT INTO orders_of_enqueue_in VALUES (1)"))


def mature(connection: Session | Connection, task: UUID) -> None:
    """Make it older than the 2 s that an ordinary enqueue has for its dispatch."""
    connection.execute(update(Activity).where(Activity.id == task).values(created_at=datetime.now(UTC) - OLD))


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM orders_of_enqueue_in")).scalar_one())


@contextmanager
def through_session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@contextmanager
def through_scoped_session(engine: Engine) -> Iterator[scoped_session[Session]]:
    session = scoped_session(sessionmaker(engine))
    yield session
    session.remove()


KINDS: dict[str, Callable[[Engine], Any]] = {
    "session": through_session,
    "scoped_session": through_scoped_session,
    "connection": lambda engine: engine.connect(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_recorded_with_the_commit_and_dispatched_after_it(
    client: ax.Client, mine: Engine, reconciler: Reconciler, kind: str
) -> None:
    with KINDS[kind](mine) as session:
        order(session)
        task = ax.enqueue_in(session, "task", Message(text="x"), priority=ax.Priority.HIGH, metadata={"a": 1})
        session.commit()
    row = row_of(mine, task.agent_id)
    assert (row.status, row.dispatched, orders(mine)) == ("queued", False, 1)
    assert client.queue.known([task.agent_id]) == [False]
    with client.engine.begin() as connection:
        mature(connection, task.agent_id)
    reconciler.run_round(full_pass=False)
    assert client.queue.known([task.agent_id]) == [True]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_leaves_nothing(
    client: ax.Client, mine: Engine, reconciler: Reconciler, kind: str
) -> None:
    with KINDS[kind](mine) as session:
        order(session)
        task = ax.enqueue_in(session, "task", Message())
        session.rollback()
    assert (rows_of(mine, [task.agent_id]), orders(mine)) == ({}, 0)
    reconciler.run_round(full_pass=True)
    assert client.queue.known([task.agent_id]) == [False]


def test_a_savepoint_that_is_rolled_back_takes_its_task_along(client: ax.Client, mine: Engine) -> None:
    with Session(mine) as session, session.begin():
        kept = ax.enqueue_in(session, "task", Message())
        inner = session.begin_nested()
        lost = ax.enqueue_in(session, "task", Message())
        inner.rollback()
    assert list(rows_of(mine, [kept.agent_id, lost.agent_id])) == [kept.agent_id]


def test_an_idempotency_key_answers_with_the_first_task(client: ax.Client, mine: Engine) -> None:
    first = client.enqueue_sync("task", Message(), idempotency_key=f"{client.queue.name}")
    with Session(mine) as session, session.begin():
        again = ax.enqueue_in(session, "task", Message(), idempotency_key=f"{client.queue.name}")
        assert again.agent_id == first.agent_id


def test_a_wrong_task_is_refused_and_the_transaction_goes_on(client: ax.Client, mine: Engine) -> None:
    with Session(mine) as session, session.begin():
        order(session)
        for wrong in ({"text": "x"}, Message(text="\0")):
            with pytest.raises(InvalidTask):
                ax.enqueue_in(session, "task", wrong)  # type: ignore[arg-type]  # what is tested
    assert orders(mine) == 1


@pytest.mark.parametrize("wrong", ["task", None, "engine"])
def test_something_else_than_a_session_is_refused(client: ax.Client, mine: Engine, wrong: Any) -> None:
    given: Any = mine if wrong == "engine" else wrong
    with pytest.raises(WrongArgument, match="Session or a Connection"):
        ax.enqueue_in(given, "task", Message())


def test_a_database_without_the_tables_is_named(client: ax.Client, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with Session(engine) as session, pytest.raises(ConfigurationError, match="agentexec db upgrade"):
        ax.enqueue_in(session, "task", Message())
    engine.dispose()


def test_a_database_of_another_kind_is_named(client: ax.Client, mine: Engine, monkeypatch: Any) -> None:
    monkeypatch.setattr(mine.dialect, "name", "mysql")
    with mine.connect() as connection, pytest.raises(ConfigurationError, match="leads to mysql"):
        ax.enqueue_in(connection, "task", Message())


def test_on_postgres_missing_tables_and_rights_are_named(servers: EmbeddedEnvironment) -> None:
    settings = ax.Settings(database_url=servers.endpoints.database_url, redis_url=servers.endpoints.redis_url)
    with ax.Client(settings=settings) as client:
        create_schema(client.engine)
        with client.engine.connect() as connection:
            connection.execute(text("SET LOCAL search_path TO pg_catalog"))
            with pytest.raises(ConfigurationError, match="agentexec db upgrade"):
                client.enqueue_in(connection, "task", Message())
            connection.rollback()
            connection.execute(text("CREATE ROLE outsider_of_enqueue_in"))
            connection.execute(text("SET LOCAL ROLE outsider_of_enqueue_in"))
            with pytest.raises(ConfigurationError, match="grant it SELECT and INSERT"):
                client.enqueue_in(connection, "task", Message())
            connection.rollback()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_async_session_takes_it_through_run_sync(client: ax.Client, mine: Engine) -> None:
    async def scene() -> UUID:
        engine = create_async_engine(mine.url.set(drivername="postgresql+psycopg"))
        async with AsyncSession(engine) as session, session.begin():
            with pytest.raises(WrongArgument, match="run_sync"):
                ax.enqueue_in(session, "task", Message())  # type: ignore[arg-type]  # what is tested
            task = await session.run_sync(ax.enqueue_in, "task", Message(), delay=60)
        await engine.dispose()
        return task.agent_id

    assert row_of(mine, asyncio.run(scene())).status == "queued"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_a_transaction_that_commits_long_after_later_tasks_is_dispatched_soon(
    client: ax.Client, mine: Engine, reconciler: Reconciler, eventually: Eventually
) -> None:
    """Its id is older than those that the outbox dispatcher has passed meanwhile, and behind which it looks again.

    It does so in each round, unless a look has taken long: then it rests for twenty times as long.
    """
    with Session(mine) as session, session.begin():
        early = ax.enqueue_in(session, "task", Message())
        later = [client.enqueue_sync("task", Message()) for _ in range(3)]
        age(client.engine, OLD, *[task.agent_id for task in later])  # also dispatched_at
        reconciler.run_round(full_pass=False)
        mature(session, early.agent_id)

    def is_known_after_a_round() -> bool:
        reconciler.run_round(full_pass=False)
        return client.queue.known([early.agent_id]) == [True]

    eventually(is_known_after_a_round, deadline=20)


def test_a_running_pool_runs_it_after_the_commit(app: App, eventually: Eventually) -> None:
    app.pool()
    with Session(app.client.engine) as session, session.begin():
        task = app.client.enqueue_in(session, "work", Job(number=1))
    eventually(lambda: app.all_complete([task.agent_id]), deadline=30)
