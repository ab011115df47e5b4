"""Readiness on a real Postgres: the tables of this version are there, and the role has the rights that it needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from agentexec import migrations
from agentexec.api import create_app
from agentexec.core.db import engine_for
from agentexec.producer.client import Client
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.production import Site, metrics_of, running_api, running_pool
from tests.support.production_tasks import Message

pytestmark = pytest.mark.integration

ROLE = "agentexec_readiness"


@pytest.fixture
def owner(servers: EmbeddedEnvironment) -> Iterator[Engine]:
    """An empty database, as its owner; a role without rights exists beside it."""
    name, url = f"readiness_{uuid4().hex}", servers.endpoints.database_url
    server = engine_for(url).execution_options(isolation_level="AUTOCOMMIT")
    run(server, f"CREATE DATABASE {name}", f"CREATE ROLE {ROLE} LOGIN PASSWORD 'hunter22'")
    owner = engine_for(url.rsplit("/", 1)[0] + f"/{name}").execution_options(isolation_level="AUTOCOMMIT")
    yield owner
    owner.dispose()
    run(server, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {ROLE}")
    server.dispose()


@pytest.fixture
def site(site: Site, owner: Engine) -> Site:
    """The site over that database, with the role."""
    url = owner.url.set(username=ROLE, password="hunter22").render_as_string(hide_password=False)
    endpoints = type(site.endpoints)(database_url=url, redis_url=site.endpoints.redis_url)
    return Site(endpoints=endpoints, queue=site.queue)


@pytest.fixture
def api(site: Site) -> Iterator[httpx.Client]:
    with (
        Client(settings=site.settings(api_rate_limit="off")) as client,
        running_api(create_app(client)) as api,
    ):
        yield api


def run(engine: Engine, *statements: str) -> None:
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def errors(http: httpx.Client) -> list[str]:
    """The errors of readiness; the status of the response agrees with them."""
    response = http.get("/health/ready")
    found: list[str] = response.json().get("errors", [])
    assert response.status_code == (503 if found else 200)
    assert "hunter22" not in response.text
    return found


def granted(owner: Engine) -> None:
    migrations.upgrade(owner)
    run(owner, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {ROLE}")


def test_ready_means_that_tables_are_there_and_rights_suffice(api: httpx.Client, owner: Engine) -> None:
    (empty,) = errors(api)
    assert empty.startswith(
        "database: there is no table agentexec_activity that the role can see; run `agentexec db"
    )
    assert "there is no table agentexec_activity_log" in empty
    migrations.upgrade(owner)
    assert errors(api) == [
        f"database: the role lacks rights; GRANT SELECT, INSERT, UPDATE ON agentexec_activity TO {ROLE}; "
        f"the role lacks rights; GRANT SELECT, INSERT ON agentexec_activity_log TO {ROLE}"
    ]
    run(
        owner,
        f"GRANT SELECT, INSERT, UPDATE ON agentexec_activity TO {ROLE}",
        f"GRANT SELECT, INSERT ON agentexec_activity_log TO {ROLE}",
    )
    assert errors(api) == []
    assert api.post("/api/tasks", json={"task_name": "echo"}).status_code == 202


@pytest.mark.parametrize(
    ("change", "back", "problem"),
    [
        (
            f"REVOKE INSERT ON agentexec_activity_log FROM {ROLE}",
            f"GRANT INSERT ON agentexec_activity_log TO {ROLE}",
            f"GRANT INSERT ON agentexec_activity_log TO {ROLE}",
        ),
        (
            f"REVOKE UPDATE ON agentexec_activity FROM {ROLE}",
            f"GRANT UPDATE ON agentexec_activity TO {ROLE}",
            f"GRANT UPDATE ON agentexec_activity TO {ROLE}",
        ),
        (
            "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
            "GRANT USAGE ON SCHEMA public TO PUBLIC",
            "GRANT USAGE ON its SCHEMA",
        ),
        (
            "ALTER TABLE agentexec_activity RENAME COLUMN holder TO worker",
            "ALTER TABLE agentexec_activity RENAME COLUMN worker TO holder",
            "the table agentexec_activity lacks holder; run `agentexec db upgrade`",
        ),
        (
            "ALTER TABLE agentexec_activity_log RENAME TO old",
            "ALTER TABLE old RENAME TO agentexec_activity_log",
            "there is no table agentexec_activity_log that",
        ),
        (
            f"ALTER ROLE {ROLE} SET default_transaction_read_only = on",
            f"ALTER ROLE {ROLE} RESET default_transaction_read_only",
            "the database is read-only; connect to the primary",
        ),
    ],
)
def test_what_becomes_missing_is_named_at_once_and_over_at_once(
    api: httpx.Client, owner: Engine, change: str, back: str, problem: str
) -> None:
    granted(owner)
    assert errors(api) == []
    run(owner, change)
    (found,) = errors(api)
    assert problem in found
    run(owner, back)
    assert errors(api) == []


def test_a_migration_that_locks_the_tables_delays_no_check(api: httpx.Client, owner: Engine) -> None:
    granted(owner)
    with owner.connect() as connection:
        connection.execute(text("BEGIN"))
        connection.execute(
            text("LOCK TABLE agentexec_activity, agentexec_activity_log IN ACCESS EXCLUSIVE MODE")
        )
        assert errors(api) == []
        connection.execute(text("ROLLBACK"))


def test_a_pool_on_an_empty_database_says_so_once_and_works_after_the_upgrade(
    site: Site, owner: Engine, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(
        site, tmp_path, {"AGENTEXEC_LOG_FORMAT": "text"}, workers=1, until="/health/live"
    ) as pool:
        eventually(lambda: len(errors(pool.http)) == 1, deadline=30)
        eventually(lambda: "UndefinedTable" in pool.log.read_text(encoding="utf-8"))
        until = time.monotonic() + 3  # three rounds of the reconciler, and as many scrapes
        while time.monotonic() < until:
            assert metrics_of(pool.http)["server_up{server=database}"] == 0
            assert len(errors(pool.http)) == 1
        log = pool.log.read_text(encoding="utf-8")
        assert log.count("the pool's maintenance") == log.count("did not answer a scrape") == 1
        assert log.count("there is no table agentexec_activity that") == 1
        without_time = Counter(line[len("2026-01-01 00:00:00,000") :] for line in log.splitlines())
        assert [line for line, times in without_time.items() if times > 1] == []
        granted(owner)
        eventually(lambda: errors(pool.http) == [], deadline=30)
        with site.client() as client:
            task = client.enqueue_sync("echo", Message(text="after"))
            eventually(lambda: client.queue.result(task.agent_id) is not None, deadline=30)
        assert pool.stop() == 0
