"""The record on Postgres 15, and through PgBouncer in transaction mode: both as Debian packages them.

They are skipped where the packages are not installed, but not where EXPECT_INSTALLED names them, as CI does that
installs them: a comma-separated list of `postgresql-15` and `pgbouncer`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity, migrations
from agentexec.core.db import create_schema, engine_for
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from tests.conftest import Eventually
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import as_default
from tests.support.activity_tasks import Number
from tests.support.poolers import pgbouncer
from tests.support.servers import required_postgres_15

pytestmark = pytest.mark.integration

TASKS = 300


@pytest.fixture(scope="module")
def postgres_15() -> Iterator[Endpoints]:
    with required_postgres_15() as servers:
        yield servers.endpoints


@pytest.fixture(scope="module")
def bouncer(servers: EmbeddedEnvironment, eventually: Eventually) -> Iterator[Endpoints]:
    """PgBouncer in transaction mode before the embedded Postgres, with fewer servers than clients."""
    with pgbouncer(servers.endpoints.database_url, eventually) as through:
        yield Endpoints(database_url=through, redis_url=servers.endpoints.redis_url)


def drain(servers: Endpoints, folder: Path) -> None:
    """A real pool drains tasks of a real client; all of them are complete, with their logs."""
    queue = f"drain-{uuid4().hex}"
    client = ax.Client(database_url=servers.database_url, redis_url=servers.redis_url, queue_name=queue)
    create_schema(client.engine)
    requests = [ax.TaskRequest(task_name="count", context=Number(number=n)) for n in range(TASKS)]
    with (
        as_default(client),
        running_pool(
            "tests.support.activity_tasks:pool",
            folder,
            environment(servers.database_url, servers.redis_url, queue),
        ),
    ):
        tasks = client.enqueue_many_sync(requests)
        tasks += [client.enqueue_sync("count", Number(number=n)) for n in range(20)]
        assert wait_until_over(client.engine, queue) == {"complete": TASKS + 20}
        with Session(client.engine) as session:
            for task in tasks[::40]:
                found = activity.detail(session, task.agent_id)
                assert found is not None
                assert [entry.n for entry in found.logs] == [0, 0, 1, 2]
            assert activity.list(session, page_size=1000, status="complete").total >= TASKS
        assert activity.cleanup_old_activities(client.engine, 0, archive=True) >= TASKS
    said = (folder / "pool.log").read_text()
    assert "prepared statement" not in said
    assert "the database refused" not in said


def test_postgres_15_migrates_to_the_models_and_drains_a_pool(postgres_15: Endpoints, tmp_path: Path) -> None:
    engine = engine_for(postgres_15.database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW server_version")).scalar_one().startswith("15.")
    assert migrations.upgrade(engine) == ["0001", "0002", "0003"]
    assert migrations.differences(engine) == []
    engine.dispose()
    drain(postgres_15, tmp_path)


def test_a_pool_drains_through_pgbouncer_in_transaction_mode(bouncer: Endpoints, tmp_path: Path) -> None:
    drain(bouncer, tmp_path)


def test_migrations_run_through_pgbouncer(bouncer: Endpoints) -> None:
    command = [sys.executable, "-m", "agentexec", "db", "upgrade"]
    variables = environment(bouncer.database_url, bouncer.redis_url, "none") | {
        "AGENTEXEC_TABLE_PREFIX": "pooled_"
    }
    run = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert run.stdout == "Applied 0001, 0002, 0003.\n", run.stderr


def prepares(engine: Engine) -> bool:
    """Whether the driver may prepare statements on a connection of this engine."""
    with engine.connect() as connection:
        return connection.connection.driver_connection.prepare_threshold is not None  # type: ignore[union-attr]  # psycopg's


def test_statements_are_prepared_on_a_direct_connection_and_not_through_a_pooler(
    servers: EmbeddedEnvironment, bouncer: Endpoints
) -> None:
    direct, pooled = engine_for(servers.endpoints.database_url), engine_for(bouncer.database_url)
    assert (prepares(direct), prepares(pooled)) == (True, False)
    direct.dispose()
    pooled.dispose()


def test_the_danger_is_real(bouncer: Endpoints) -> None:
    """Without that care, statements of different clients meet on the same servers and fail."""
    engines = [engine_for(bouncer.database_url, pool_size=1) for _ in range(4)]
    for engine in engines:
        event.listen(engine, "connect", prepare_at_once)
    said = []
    connections = [engine.connect() for engine in engines]
    for n in range(40):
        connection = connections[n % 4]
        try:
            connection.execute(text("SELECT 1")).scalar_one()
            connection.commit()
        except Exception as error:
            said.append(str(error))
            connection.rollback()
    for connection, engine in zip(connections, engines, strict=True):
        connection.close()
        engine.dispose()
    assert said
    assert [words for words in said if "prepared statement" not in words] == []


def prepare_at_once(connection: object, _record: object) -> None:
    connection.prepare_threshold = 0  # type: ignore[attr-defined]  # psycopg's
