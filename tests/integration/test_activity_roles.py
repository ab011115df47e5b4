"""The limited role of the production guide is enough at run time: a pool creates or changes no table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity, migrations
from agentexec.core.db import engine_for
from agentexec.core.requirements import unmet
from agentexec.producer.requeue import requeue
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_postgres import client_program
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import as_default
from tests.support.activity_tasks import Number, Verdict
from tests.support.environment import ROOT
from tests.support.guide import as_written, safe_forms

pytestmark = pytest.mark.integration

# What PostgreSQL 15 took from every role, and a migration needs.
FOR_MIGRATIONS = "GRANT USAGE, CREATE ON SCHEMA public TO agentexec_migrate"
CLEAN = """
DROP DATABASE IF EXISTS {0} WITH (FORCE);
DROP DATABASE IF EXISTS {0}_restored WITH (FORCE);
DROP OWNED BY {0}_app;
DROP USER {0}_app;
DROP USER {0}_migrate;
"""


@dataclass(frozen=True, kw_only=True)
class GuideDatabase:
    """The guide's database and its three roles."""

    owner: Engine
    admin_url: str
    app_url: str
    migrate_url: str
    redis_url: str


@contextmanager
def database(
    servers: EmbeddedEnvironment, name: str, make: Callable[[Engine], None]
) -> Iterator[GuideDatabase]:
    """A database and its roles, as `make` creates them; all of it is gone afterwards."""
    server_url = servers.endpoints.database_url
    server = engine_for(server_url).execution_options(isolation_level="AUTOCOMMIT")
    make(server)
    base = server_url.rsplit("@", 1)[1].rsplit("/", 1)[0]
    owner = engine_for(server_url.rsplit("/", 1)[0] + f"/{name}")
    yield GuideDatabase(
        owner=owner.execution_options(isolation_level="AUTOCOMMIT"),
        admin_url=server_url,
        app_url=f"postgresql://{name}_app:secure_password@{base}/{name}",
        migrate_url=f"postgresql://{name}_migrate:migrate_password@{base}/{name}",
        redis_url=servers.endpoints.redis_url,
    )
    owner.dispose()
    run_sql(server, CLEAN.format(name))
    server.dispose()


@pytest.fixture(scope="module")
def unmigrated(servers: EmbeddedEnvironment) -> Iterator[GuideDatabase]:
    """The statements of the guide as they stand, in the database in which one begins: that of the server."""
    with database(servers, "agentexec", lambda server: run_sql(server, as_written()["roles"])) as made:
        yield made


@pytest.fixture(scope="module")
def with_tables(unmigrated: GuideDatabase) -> GuideDatabase:
    """The tables are made by the migration role."""
    refused = upgrade(unmigrated.migrate_url)
    assert refused.returncode == 78
    assert "GRANT USAGE, CREATE ON SCHEMA public TO agentexec_migrate" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "migrate_password" not in refused.stderr
    run_sql(unmigrated.owner, FOR_MIGRATIONS)
    assert upgrade(unmigrated.migrate_url).stdout == "Applied 0001, 0002, 0003.\n"
    return unmigrated


@pytest.fixture(scope="module")
def migrated(with_tables: GuideDatabase) -> GuideDatabase:
    """The application's role gets what the guide grants it, now that the tables are there, and in their database."""
    run_sql(with_tables.owner, "".join(re.findall(r"GRANT .* IN SCHEMA .*;", as_written()["roles"])))
    return with_tables


@pytest.fixture(scope="module")
def safe(servers: EmbeddedEnvironment) -> Iterator[GuideDatabase]:
    """The statements of docs/reference/guide.md, and the tables."""
    sql = safe_forms()["Roles and grants"].replace("agentexec", "safe")
    passwords = {"APP_PASSWORD": "secure_password", "MIGRATE_PASSWORD": "migrate_password"}
    url = servers.endpoints.database_url

    def make(_: Engine) -> None:
        made = run_client("psql", url, "--no-psqlrc", "--quiet", given=sql, variables=passwords)
        assert (made.returncode, made.stderr) == (0, "")

    with database(servers, "safe", make) as found:
        engine = engine_for(found.migrate_url)
        migrations.upgrade(engine)
        engine.dispose()
        yield found


def run_client(
    program: str, *arguments: str, given: str = "", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A client program of Postgres, with this text as its input."""
    return subprocess.run(
        [client_program(program), *arguments],
        input=given,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def missing(url: str) -> list[str]:
    """What a pool that connects so does not find."""
    engine = engine_for(url)
    with engine.connect() as connection:
        found = list(unmet(connection))
    engine.dispose()
    return found


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


def test_the_grants_of_the_guide_cover_no_table(with_tables: GuideDatabase) -> None:
    assert [one.partition(";")[0] for one in missing(with_tables.app_url)] == ["the role lacks rights"] * 2


def test_the_safe_grants_cover_every_table_whenever_it_is_made(safe: GuideDatabase) -> None:
    assert missing(safe.app_url) == []
    assert_no_changes(safe.app_url)


def test_the_applications_role_may_not_make_tables(migrated: GuideDatabase) -> None:
    assert missing(migrated.app_url) == []
    assert_no_changes(migrated.app_url)


def assert_no_changes(url: str) -> None:
    engine = engine_for(url)
    for statement in ("CREATE TABLE mine (id int)", "ALTER TABLE agentexec_activity ADD COLUMN mine int"):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            run_sql(engine, statement)
    engine.dispose()


def test_the_restoration_of_the_guide_is_refused_and_has_the_exit_code_of_success(
    migrated: GuideDatabase,
) -> None:
    dump = run_client("pg_dump", migrated.app_url)
    assert dump.returncode == 0, dump.stderr
    run_sql(migrated.owner, "CREATE DATABASE agentexec_restored")
    for url, errors in ((migrated.app_url, 27), (f"{migrated.app_url}_restored", 36)):
        restored = run_client("psql", "--no-psqlrc", url, given=dump.stdout)
        assert (restored.returncode, restored.stderr.count("ERROR:")) == (0, errors), restored.stderr


def test_the_safe_restoration_has_no_error_and_brings_rows_and_rights(
    safe: GuideDatabase, tmp_path: Path
) -> None:
    restored = safe.app_url + "_restored"
    queue = f"safe-{uuid4().hex}"
    with ax.Client(database_url=safe.app_url, redis_url=safe.redis_url, queue_name=queue) as client:
        task = client.enqueue_sync("count", Number(number=7)).agent_id
        client.queue.drop()
    variables = {
        "ADMIN_DATABASE_URL": safe.admin_url,
        "MIGRATE_DATABASE_URL": safe.migrate_url,
        "RESTORED_DATABASE_URL": safe.migrate_url + "_restored",
        "PATH": os.pathsep.join([str(client_program("psql").parent), os.environ["PATH"]]),
    }
    block = safe_forms()["Backup and restore"].replace("agentexec", "safe")
    done = subprocess.run(
        ["bash", "-euc", block],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert missing(restored) == []
    engine = engine_for(restored)
    with Session(engine) as session:
        found = activity.detail(session, task)
    engine.dispose()
    assert found is not None
    assert [entry.status.value for entry in found.logs] == ["queued"]


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
