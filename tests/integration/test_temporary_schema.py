"""A run leaves a database as it was: the tables that it created are gone, and all others are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from agentexec import Client
from agentexec.store.models import OWN_TABLES
from harness.environments import make_environment
from harness.environments.base import Endpoints, Environment
from harness.errors import TargetFailed
from harness.faults.backends import OTHER_SESSIONS
from harness.targets.agentexec_schema import TemporarySchema
from harness.targets.agentexec_target import TARGET, AgentexecSession
from harness.targets.agentexec_tasks import TASK_NAME, Numbered
from harness.targets.base import TargetSettings, TaskSpec

pytestmark = pytest.mark.integration

TABLES = {table.name for table in OWN_TABLES}


@pytest.fixture(scope="module")
def servers() -> Iterator[Environment]:
    with make_environment("embedded") as environment:
        yield environment


@pytest.fixture
def database(servers: Environment) -> Iterator[str]:
    """The URL of an empty database."""
    url = servers.endpoints.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS staging")
        connection.execute("CREATE DATABASE staging")
    yield f"{url.rpartition('/')[0]}/staging"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE staging WITH (FORCE)")


def opened(servers: Environment, database: str, folder: Path, queue: str = "hx-1") -> AgentexecSession:
    endpoints = Endpoints(database_url=database, redis_url=servers.endpoints.redis_url)
    settings = TargetSettings(queue=queue, folder=folder, history=folder, gate_address="")
    return TARGET.open(endpoints, settings)


def objects(database: str) -> set[str]:
    """Everything in the schema: tables, indexes, sequences and types."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    types = "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace"
    with psycopg.connect(database) as connection:
        return {str(row[0]) for row in (*connection.execute(query), *connection.execute(types))}


def execute(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement)


def test_tables_that_a_session_created_are_dropped(
    servers: Environment, database: str, tmp_path: Path
) -> None:
    execute(database, "CREATE TABLE orders (id int)")
    before = objects(database)
    with closing(opened(servers, database, tmp_path)) as session:
        session.submit([TaskSpec(number=1)])
        assert objects(database) >= TABLES
    assert objects(database) == before


def test_tables_that_were_there_stay(servers: Environment, database: str, tmp_path: Path) -> None:
    opened(servers, database, tmp_path).discard()
    assert objects(database) == set()
    session = opened(servers, database, tmp_path)
    for table in TABLES:  # as a migration of the user made them
        execute(database, f"COMMENT ON TABLE {table} IS NULL")
    before = objects(database)
    session.close()
    with closing(opened(servers, database, tmp_path)):
        pass
    assert objects(database) == before


def test_a_table_that_someone_uses_stays(servers: Environment, database: str, tmp_path: Path) -> None:
    session = opened(servers, database, tmp_path)
    with Client(database_url=database, redis_url=servers.endpoints.redis_url, queue_name="mine") as client:
        client.enqueue_sync(TASK_NAME, Numbered(number=1))
    session.close()
    assert objects(database) >= TABLES
    opened(servers, database, tmp_path, queue="mine").close()
    assert objects(database) == set(), "the last run that leaves no row drops what an earlier one created"


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_runs_the_last_one_drops_the_tables(
    first: int, servers: Environment, database: str, tmp_path: Path
) -> None:
    sessions = [opened(servers, database, tmp_path, queue=queue) for queue in ("hx-1", "hx-2")]
    sessions.pop(first).close()
    [left] = sessions
    left.submit([TaskSpec(number=1)])
    assert left.unfinished() == 1
    left.close()
    assert objects(database) == set()


def test_a_session_that_cannot_be_opened_leaves_no_table(
    servers: Environment, database: str, tmp_path: Path
) -> None:
    endpoints = Endpoints(database_url=database, redis_url="redis://127.0.0.1:1/0")
    settings = TargetSettings(queue="hx-1", folder=tmp_path, history=tmp_path, gate_address="")
    with pytest.raises(TargetFailed):
        TARGET.open(endpoints, settings)
    assert objects(database) == set()


def test_tables_are_dropped_also_if_the_queue_cannot_be_emptied(
    servers: Environment, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(servers, database, tmp_path)

    def refused(**_: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(session._client.queue, "drop", refused)
    with pytest.raises(TargetFailed, match="could not be removed"):
        session.close()
    assert objects(database) == set()


def test_a_fault_at_the_connections_of_the_target_strikes_none_of_the_harness(database: str) -> None:
    schema = TemporarySchema(make_url(f"postgresql+psycopg{database.removeprefix('postgresql')}"))
    schema.create()
    with psycopg.connect(database) as connection:
        assert connection.execute(f"SELECT count(*) {OTHER_SESSIONS}").fetchone() == (0,)
    schema.drop()


def test_a_fault_that_ends_all_connections_does_not_keep_the_tables(
    servers: Environment, database: str, tmp_path: Path
) -> None:
    session = opened(servers, database, tmp_path)
    execute(
        servers.endpoints.database_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'staging'",
    )
    session.close()
    assert objects(database) == set()
