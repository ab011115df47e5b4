"""The limited role of the production guide is enough at run time: a pool creates or changes no table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.core.db import engine_for
from agentexec.producer.requeue import requeue
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import as_default
from tests.support.activity_tasks import Number, Verdict
from tests.support.environment import ROOT

pytestmark = pytest.mark.integration

# As in the production guide: on the server, then in the database.
ON_SERVER = """
CREATE DATABASE agentexec;
CREATE USER agentexec_app WITH PASSWORD 'secure_password';
GRANT CONNECT ON DATABASE agentexec TO agentexec_app;
CREATE USER agentexec_migrate WITH PASSWORD 'migrate_password';
GRANT ALL PRIVILEGES ON DATABASE agentexec TO agentexec_migrate;
"""
IN_DATABASE = """
GRANT USAGE ON SCHEMA public TO agentexec_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO agentexec_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO agentexec_app;
"""
# What PostgreSQL 15 took from every role, and a migration needs.
FOR_MIGRATIONS = "GRANT USAGE, CREATE ON SCHEMA public TO agentexec_migrate"
CLEAN = "DROP DATABASE agentexec WITH (FORCE); DROP USER agentexec_app; DROP USER agentexec_migrate"


@dataclass(frozen=True, kw_only=True)
class GuideDatabase:
    """The guide's database and its three roles."""

    owner: Engine
    app_url: str
    migrate_url: str
    redis_url: str


@pytest.fixture(scope="module")
def unmigrated(servers: EmbeddedEnvironment) -> Iterator[GuideDatabase]:
    server_url = servers.endpoints.database_url
    server = engine_for(server_url).execution_options(isolation_level="AUTOCOMMIT")
    run_sql(server, ON_SERVER)
    base = server_url.rsplit("@", 1)[1].rsplit("/", 1)[0]
    owner = engine_for(server_url.rsplit("/", 1)[0] + "/agentexec")
    yield GuideDatabase(
        owner=owner.execution_options(isolation_level="AUTOCOMMIT"),
        app_url=f"postgresql://agentexec_app:secure_password@{base}/agentexec",
        migrate_url=f"postgresql://agentexec_migrate:migrate_password@{base}/agentexec",
        redis_url=servers.endpoints.redis_url,
    )
    owner.dispose()
    run_sql(server, CLEAN)
    server.dispose()


@pytest.fixture(scope="module")
def migrated(unmigrated: GuideDatabase) -> GuideDatabase:
    """The tables are made by the migration role, then the application's role gets what the guide grants it."""
    refused = upgrade(unmigrated.migrate_url)
    assert refused.returncode == 78
    assert "GRANT USAGE, CREATE ON SCHEMA public TO agentexec_migrate" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "migrate_password" not in refused.stderr
    run_sql(unmigrated.owner, FOR_MIGRATIONS)
    assert upgrade(unmigrated.migrate_url).stdout == "Applied 0001, 0002, 0003.\n"
    run_sql(unmigrated.owner, IN_DATABASE)
    return unmigrated


def run_sql(engine: Engine, statements: str) -> None:
    with engine.connect() as connection:
        for statement in statements.strip().split(";"):
            if statement.strip():
                connection.execute(text(statement))


def upgrade(database_url: str, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")}
    variables |= {"DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "agentexec", *(command or ("db", "upgrade"))]
    return subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False)


def test_the_applications_role_may_not_make_tables(migrated: GuideDatabase) -> None:
    engine = engine_for(migrated.app_url)
    for statement in ("CREATE TABLE mine (id int)", "ALTER TABLE agentexec_activity ADD COLUMN mine int"):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            run_sql(engine, statement)
    engine.dispose()


def test_a_pool_and_its_clients_need_no_more_than_that_role(migrated: GuideDatabase, tmp_path: Path) -> None:
    queue = f"role-{uuid4().hex}"
    client = ax.Client(database_url=migrated.app_url, redis_url=migrated.redis_url, queue_name=queue)
    requests = [ax.TaskRequest(task_name="count", context=Number(number=n)) for n in range(50)]
    with (
        as_default(client),
        running_pool(
            "tests.support.activity_tasks:pool",
            tmp_path,
            environment(migrated.app_url, migrated.redis_url, queue),
        ),
    ):
        tasks = client.enqueue_many_sync(requests)
        failed = client.enqueue_sync("decide", Verdict(how="error then return"))
        later = client.enqueue_sync("count", Number(), delay=3600.0)
        assert activity.cancel(later.agent_id)
        assert wait_until_over(client.engine, queue) == {"complete": 50, "error": 1, "canceled": 1}
        again = requeue(client, failed.agent_id)
        assert wait_until_over(client.engine, queue) == {"complete": 50, "error": 2, "canceled": 1}
        with Session(client.engine) as session:
            found = activity.detail(session, again)
            assert found is not None
            assert found.metadata == {"requeued_from": str(failed.agent_id)}
            first = activity.detail(session, tasks[7].agent_id)
            assert first is not None
            assert first.result == {"number": 7}
            session.rollback()
            assert activity.cancel_pending(session) == 0
        by_hand = activity.create("import")
        assert activity.complete(by_hand)
        assert activity.cleanup_old_activities(client.engine, 0, archive=True) == 54
    check = upgrade(migrated.app_url, "db", "check")
    assert (check.returncode, check.stdout) == (0, "The tables are as the models say.\n")
