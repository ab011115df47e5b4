"""Postgres connections in the states that production brings: other defaults, failovers, engines, names, silence."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, StaticPool

import agentexec as ax
from agentexec import activity
from agentexec.cli import database
from agentexec.config import LONGEST_SERVER_TIMEOUT, load_settings
from agentexec.core import postgres
from agentexec.core.db import create_schema, engine_for, one_statement
from agentexec.errors import ConfigurationError
from agentexec.ops.health import Checks
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from tests.conftest import Eventually
from tests.support.environment import ROOT
from tests.support.poolers import pgbouncer
from tests.support.production import Site, running_pool, wait_for
from tests.support.queue_tasks import Nap

pytestmark = pytest.mark.integration


@contextmanager
def as_server(endpoints: Endpoints) -> Iterator[Callable[[str], object]]:
    """Runs statements on the server as its administrator."""
    engine = create_engine(
        endpoints.database_url.replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        yield lambda statement: connection.execute(text(statement))
    engine.dispose()


@contextmanager
def own_database(servers: EmbeddedEnvironment, *settings: str) -> Iterator[Endpoints]:
    """A database with settings of its own, such as `default_transaction_isolation = 'serializable'`."""
    name = f"own_{uuid4().hex}"
    with as_server(servers.endpoints) as run:
        run(f"CREATE DATABASE {name}")
        url = urlsplit(servers.endpoints.database_url)._replace(path=f"/{name}").geturl()
        for setting in settings:
            run(f"ALTER DATABASE {name} SET {setting}")
        yield replace(servers.endpoints, database_url=url)
        run(f"DROP DATABASE {name} WITH (FORCE)")


SERIALIZABLE = "default_transaction_isolation = 'serializable'"


@pytest.fixture
def serializable(servers: EmbeddedEnvironment) -> Iterator[Endpoints]:
    with own_database(servers, SERIALIZABLE) as endpoints:
        yield endpoints


def isolation(engine: Engine) -> str:
    with engine.begin() as connection:
        return str(connection.execute(text("SHOW transaction_isolation")).scalar_one())


def test_a_server_that_isolates_more_strictly_by_default_changes_nothing(serializable: Endpoints) -> None:
    engine = engine_for(serializable.database_url)
    assert isolation(engine) == isolation(one_statement(engine)) == "read committed"
    engine.dispose()


def test_concurrent_enqueues_do_not_fail_on_a_serializable_server(serializable: Endpoints) -> None:
    site = Site.on(serializable)
    clients = [site.client() for _ in range(4)]
    with ThreadPoolExecutor(20) as threads:
        tasks = list(threads.map(lambda n: clients[n % 4].enqueue_sync("nap", Nap()), range(600)))
    assert len({task.agent_id for task in tasks}) == 600
    clients[0].queue.drop()
    for client in clients:
        client.close()


@pytest.mark.parametrize("behind_pooler", [False, True])
def test_the_default_of_a_server_behind_a_pooler_changes_nothing_either(
    serializable: Endpoints, servers: EmbeddedEnvironment, eventually: Eventually, behind_pooler: bool
) -> None:
    target = serializable if behind_pooler else servers.endpoints
    with pgbouncer(target.database_url, eventually) as url:
        engine = engine_for(url)
        for _ in range(3):
            assert isolation(engine) == isolation(one_statement(engine)) == "read committed"
        engine.dispose()
        plain = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        default = "serializable" if behind_pooler else "read committed"
        assert isolation(plain) == default, "the session of others keeps its own default"
        plain.dispose()


def test_a_database_that_is_read_only_for_a_moment_costs_no_enqueue(servers: EmbeddedEnvironment) -> None:
    """Sessions that began meanwhile stay read-only for ever: they are dropped."""
    with own_database(servers) as endpoints, as_server(servers.endpoints) as run:
        site = Site.on(endpoints)
        database = urlsplit(endpoints.database_url).path[1:]
        with site.client() as client:
            run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
            client._recording.dispose()
            client.engine.dispose()
            with client._recording.connect(), client.engine.connect():  # they are read-only
                pass
            run(f"ALTER DATABASE {database} RESET default_transaction_read_only")
            task = client.enqueue_sync("nap", Nap())
            assert client.cancel([task.agent_id]) == {task.agent_id: ax.activity.Status.CANCELED}
            client.queue.drop()


def test_a_database_that_stays_read_only_raises_within_bounds(servers: EmbeddedEnvironment) -> None:
    setting = "default_transaction_read_only = on"
    with own_database(servers) as endpoints, as_server(servers.endpoints) as run:
        site = Site.on(endpoints)
        run(f"ALTER DATABASE {urlsplit(endpoints.database_url).path[1:]} SET {setting}")
        with site.client() as client, pytest.raises(DBAPIError) as raised:
            client.enqueue_sync("nap", Nap())
    assert getattr(raised.value.orig, "sqlstate", None) == "25006"


def application_names(client: ax.Client) -> set[str]:
    query = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()"
    with client.engine.connect() as connection:
        return set(connection.execute(text(query)).scalars())


def test_connections_have_names_unless_the_url_gives_another(site: Site) -> None:
    with site.client() as client:
        client.enqueue_sync("nap", Nap())
        assert "agentexec-producer" in application_names(client)
    with site.client(database_url=f"{site.endpoints.database_url}?application_name=mine") as client:
        assert "mine" in application_names(client)
    engine = engine_for(site.endpoints.database_url, name="agentexec-x")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "agentexec-x"
    engine.dispose()


def engine_of_application(site: Site, **options: Any) -> Engine:
    """An engine whose URL alone leads nowhere: all the rest is in `connect_args`."""
    url = urlsplit(site.endpoints.database_url)
    place = {"host": url.hostname, "port": url.port, "user": url.username, "password": url.password}
    arguments = {**place, "dbname": url.path[1:], "application_name": "of-the-application"}
    return create_engine("postgresql+psycopg://", connect_args=arguments, **options)


def test_a_client_connects_as_the_engine_of_its_application_does(site: Site) -> None:
    engine = engine_of_application(site, pool_size=3, max_overflow=1, isolation_level="AUTOCOMMIT")
    opened, seen = [], []
    event.listen(engine, "connect", lambda *_: opened.append(1))
    client = ax.Client(settings=site.settings(database_url="postgresql://"), engine=engine)
    event.listen(engine, "before_cursor_execute", lambda *a: seen.append(a[2]))
    task = client.enqueue_sync("nap", Nap())
    assert application_names(client) == {"of-the-application"}
    assert client.engine.pool.size() == client._recording.pool.size() == 3  # type: ignore[attr-defined]  # a QueuePool
    assert opened
    assert any("INSERT" in statement for statement in seen)
    assert isolation(client.engine) == isolation(client._recording) == "read committed"
    assert client.cancel([task.agent_id])
    assert engine.pool.status().startswith("Pool size: 3  Connections in pool: 0"), (
        "its own pool is left alone"
    )
    client.close()
    engine.dispose()


def test_an_engine_with_a_single_connection_serves_every_kind_of_enqueue(site: Site) -> None:
    engine = engine_of_application(site, pool_size=1, max_overflow=0, pool_timeout=1)
    client = ax.Client(settings=site.settings(), engine=engine)
    client.enqueue_sync("nap", Nap())
    keys = [uuid4().hex, uuid4().hex]
    requests = [ax.TaskRequest(task_name="nap", context=Nap(), idempotency_key=key) for key in keys]
    assert len(client.enqueue_many_sync(requests)) == 2, "in a transaction, after a single statement"
    client.close()


def test_an_engine_for_encrypted_connections_is_never_used_without(site: Site) -> None:
    engine = engine_of_application(site)
    encrypted = create_engine(
        "postgresql+psycopg://", connect_args={**engine_arguments(engine), "sslmode": "require"}
    )
    client = ax.Client(settings=site.settings(), engine=encrypted)
    with pytest.raises(OperationalError, match="SSL"):
        client.enqueue_sync("nap", Nap())
    client.close()


def engine_arguments(engine: Engine) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    event.listen(engine, "do_connect", lambda *a: seen.update(a[3]), once=True)
    engine.connect().close()
    engine.dispose()
    return seen


POOL_WITH_ENGINE = """
import os
from uuid import UUID
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
import agentexec as ax
from pydantic import BaseModel

class Nap(BaseModel):
    seconds: float

url = make_url(os.environ["REAL_DATABASE_URL"])
engine = create_engine("postgresql+psycopg://", connect_args=dict(
    host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database,
    application_name=os.environ["AGENTEXEC_QUEUE_NAME"]))
pool = ax.Pool(engine)

@pool.task("again")
async def again(agent_id: UUID, context: Nap) -> str:
    return str((await ax.enqueue("none", Nap(seconds=0))).agent_id)

@pool.task("none")
async def none(agent_id: UUID, context: Nap) -> None: ...
"""


def test_every_process_of_a_pool_connects_as_its_engine_does(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pool_with_engine.py").write_text(POOL_WITH_ENGINE)
    environment = {
        "REAL_DATABASE_URL": site.endpoints.database_url,
        "DATABASE_URL": "postgresql://nowhere.invalid/x",
        "AGENTEXEC_DATABASE_URL": "",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    unforked = replace(site, forks=None)  # a fork has the module path of its server
    with (
        running_pool(unforked, tmp_path, environment, pool="pool_with_engine:pool") as pool,
        site.client() as client,
    ):
        task = client.enqueue_sync("again", Nap())
        wait_for(lambda: client.queue.result(task.agent_id) is not None)
        with client.engine.connect() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
            assert connection.execute(text(query), {"name": site.queue}).scalar_one() >= 3, (
                "parent and workers"
            )
        assert pool.http.get("/health/ready").status_code == 200


@pytest.mark.parametrize("take", [ax.Pool, lambda engine: ax.Client(engine=engine)])
def test_an_engine_that_cannot_be_used_is_refused_with_the_remedy(take: Callable[[Any], Any]) -> None:
    class Driver:
        paramstyle = "pyformat"
        __version__ = "2.9"
        Error = Exception

    other = create_engine("postgresql+pg8000://u:secret@h/d", module=Driver())
    shared = create_engine("postgresql+psycopg://u:secret@h/d", poolclass=StaticPool)
    for engine, why in (
        (other, "uses postgresql+pg8000, which agentexec does not"),
        (create_async_engine("postgresql+psycopg://u:secret@h/d"), "A AsyncEngine is not an Engine"),
        (shared, "has a StaticPool"),
        ("postgresql://u:secret@h/d", "A str is not an Engine of SQLAlchemy; pass one of create_engine"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(why)) as refused:
            take(engine)
        assert "secret" not in str(refused.value)


def test_listeners_of_an_sqlite_engine_are_kept(tmp_path: Path, servers: EmbeddedEnvironment) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'record.db'}")
    opened = []
    event.listen(engine, "connect", lambda *_: opened.append(1))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    client = ax.Client(redis_url=servers.endpoints.redis_url, queue_name=f"q-{uuid4().hex}", engine=engine)
    create_schema(client.engine)
    task = client.enqueue_sync("nap", Nap())
    assert opened
    with Session(engine) as session:
        assert activity.detail(session, task.agent_id) is not None
    client.queue.drop()
    client.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("default", "used"), [("off", "on"), ("on", "on"), ("local", "local"), ("remote_write", "remote_write")]
)
def test_a_commit_waits_until_it_is_durable_although_the_default_is_not_to(
    servers: EmbeddedEnvironment, default: str, used: str
) -> None:
    """Else a crash of Postgres loses acknowledged tasks: `lose-postgres-tail` is INVALID without this."""
    with own_database(servers, f"synchronous_commit = {default}") as endpoints:
        engine = engine_for(endpoints.database_url)
        for one in (engine, one_statement(engine)):
            with one.begin() as connection:
                assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == used
        engine.dispose()


def test_the_server_waits_for_a_client_in_a_transaction_as_long_as_the_client_for_it(
    servers: EmbeddedEnvironment,
) -> None:
    """Else a host that is gone keeps its locks, and others wait for them: seeds of `harness simulate --postgres`."""
    engine = engine_for(servers.endpoints.database_url, timeout=7, own=True)
    with engine.begin() as connection:
        assert connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "7s"
    engine.dispose()


def test_a_check_of_the_health_leaves_connections_that_others_use_in_their_pool(
    servers: EmbeddedEnvironment,
) -> None:
    """Its pool was replaced, so such a connection was collected while it was open."""
    checks = Checks.of(
        load_settings(database_url=servers.endpoints.database_url, redis_url=servers.endpoints.redis_url)
    )
    pool = checks.engine.pool
    with checks.engine.connect():
        checks.report()
    assert checks.engine.pool is pool
    checks.close()


def test_a_session_of_an_application_may_hold_a_transaction_open(servers: EmbeddedEnvironment) -> None:
    """Reading 200,000 activities took longer than a call may take; a host that is gone is found by its silence."""
    with (
        ax.Client(
            database_url=servers.endpoints.database_url,
            redis_url=servers.endpoints.redis_url,
            queue_name="held",
        ) as client,
        client.engine.begin() as connection,
    ):
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in (
                "idle_in_transaction_session_timeout",
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
            )
        }
    assert shown == {
        "idle_in_transaction_session_timeout": "0",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
    }


@pytest.mark.parametrize("seconds", [14 * 86_400.0, float(LONGEST_SERVER_TIMEOUT)])
def test_a_time_limit_of_weeks_still_connects(servers: EmbeddedEnvironment, seconds: float) -> None:
    engine = engine_for(servers.endpoints.database_url, timeout=seconds)
    assert isolation(engine) == "read committed"
    engine.dispose()


def test_engines_that_come_and_go_leave_nothing_on_the_one_that_they_connect_as(site: Site) -> None:
    engine = engine_of_application(site)

    def carried() -> int:
        own = engine_for(engine)
        assert isolation(own) == "read committed"
        own.dispose()
        listeners = engine.dialect.dispatch
        return len(listeners.handle_error) + len(listeners.do_connect)

    assert carried() == carried()
    engine.dispose()


def test_an_engine_of_an_application_waits_no_longer_for_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        engine = create_engine(f"postgresql+psycopg://u:p@127.0.0.1:{port}/d", poolclass=NullPool)
        began = time.monotonic()
        with pytest.raises(OperationalError, match="timeout"), engine_for(engine, timeout=2.0).connect():
            pass
        assert time.monotonic() - began < 60, "psycopg's own time limit is 130 s"


def test_a_statement_of_the_command_line_may_be_silent_for_long(
    servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTEXEC_DATABASE_URL", servers.endpoints.database_url)
    limits: list[float] = []
    monkeypatch.setattr(postgres, "prepare", lambda _engine, *, timeout, **_: limits.append(timeout))
    with database._database() as engine:
        assert isolation(engine) == "read committed"
    assert limits == [LONGEST_SERVER_TIMEOUT]
