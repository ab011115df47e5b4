"""The record on Postgres 15, and through PgBouncer in transaction mode: both as Debian packages them.

They are skipped where the packages are not installed, but not where EXPECT_INSTALLED names them, as CI does that
installs them: a comma-separated list of `postgresql-15` and `pgbouncer`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity, migrations
from agentexec.core.db import create_schema, engine_for
from harness.doctor import postgres_checks
from harness.doctor.area import Area
from harness.doctor.check import Grade, passed, warned
from harness.doctor.examination import examine
from harness.doctor.installation import DoctorOptions, Installation
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from tests.conftest import Eventually
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import as_default
from tests.support.activity_tasks import Number
from tests.support.poolers import pgbouncer
from tests.support.production import wait_for
from tests.support.redis_servers import make_certificates
from tests.support.servers import openssl_binary, required_postgres_15

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


def test_the_doctor_reads_through_pgbouncer(bouncer: Endpoints) -> None:
    """A session keeps no setting there, so each transaction brings its own limits."""
    engine = engine_for(bouncer.database_url)
    create_schema(engine)
    engine.dispose()
    with Installation(DoctorOptions(database_url=bouncer.database_url, redis_url=bouncer.redis_url)) as site:
        report = examine(site, (), today=datetime.now(UTC).date())
    of_postgres = [one for one in report.results if one.check.area in (Area.POSTGRES, Area.TABLES)]
    assert report.silent == ()
    # Postgres does not measure its fsync by default, it has no standby, and the tables are empty.
    unknown = [one.check.id for one in of_postgres if one.finding.grade is Grade.SKIP]
    assert unknown == ["postgres.fsync-time", "postgres.standbys", "indexes.used"]


def test_the_doctor_sees_that_a_connection_is_encrypted(postgres_15: Endpoints, tmp_path: Path) -> None:
    make_certificates(tmp_path, openssl_binary())
    engine = engine_for(postgres_15.database_url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        data = Path(connection.execute(text("SHOW data_directory")).scalar_one())
        for name in ("server.pem", "server.key"):
            copy = Path(shutil.copy(tmp_path / name, data))
            os.chown(copy, data.stat().st_uid, data.stat().st_gid)
            copy.chmod(0o600)
        for setting in ("ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl = on"):
            connection.execute(text(f"ALTER SYSTEM SET {setting}"))
        connection.execute(text("SELECT pg_reload_conf()"))
        wait_for(lambda: connection.execute(text("SHOW ssl")).scalar_one() == "on")
        found = {}
        for query in (
            "sslmode=disable",
            "sslmode=require",
            f"sslmode=verify-full&sslrootcert={tmp_path}/ca.pem",
        ):
            with Installation(DoctorOptions(database_url=f"{postgres_15.database_url}?{query}")) as site:
                found[query.partition("&")[0]] = postgres_checks.tls.probe(site)
                # Before version 18, initdb enables none.
                assert postgres_checks.checksums.probe(site) == warned("data_checksums off")
        connection.execute(text("ALTER SYSTEM RESET ALL"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    assert found == {
        "sslmode=disable": warned("not encrypted, on this machine only"),
        "sslmode=require": passed("encrypted; sslmode=require verifies no name"),
        "sslmode=verify-full": passed("encrypted; the server's name is verified"),
    }


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
