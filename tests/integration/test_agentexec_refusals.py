"""What one task brings, and what the database refuses, in a real pool: no other task and no worker pays for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from agentexec.core.db import engine_for
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from agentexec.task import TaskRequest
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.pool_process import App, PoolProcess

if TYPE_CHECKING:
    from tests.conftest import Eventually

pytestmark = pytest.mark.integration

APP = """
import asyncio
import os
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax

FOLDER = Path(os.environ["APP_FOLDER"])
pool = ax.Pool()


class Order(BaseModel):
    size: int = 0
    key: str = "k"
    gate: str = ""


async def pass_gate(context: Order) -> None:
    (FOLDER / f"begun-{ax.current_task().agent_id}").touch()
    while context.gate and not (FOLDER / context.gate).exists():
        await asyncio.sleep(0.02)


@pool.task("give")
async def give(agent_id: UUID, context: Order) -> Any:
    await pass_gate(context)
    ax.current_task().close_with("a verdict of its own")
    return {"text": "x" * context.size}


@pool.task("locked", lock_key="lock-{key}")
async def locked(agent_id: UUID, context: Order) -> None:
    await pass_gate(context)
"""


class Order(BaseModel):
    """The context of every handler of the application."""

    size: int = 0
    key: str = "k"
    gate: str = ""


@pytest.fixture
def app(servers: EmbeddedEnvironment, forks: str, tmp_path: Path) -> Iterator[App]:
    """An application of the tasks above with its own queue; its processes are gone afterwards."""
    app = App(servers, tmp_path, forks)
    (tmp_path / "app.py").write_text(APP)
    yield app
    app.close()


def enqueue(app: App, name: str, *orders: Order, **options: Any) -> list[UUID]:
    requests = [TaskRequest(task_name=name, context=order, **options) for order in orders]
    return [task.agent_id for task in app.client.enqueue_many_sync(requests)]


def require_no_death(pool: PoolProcess) -> None:
    assert "ended with code" not in pool.log
    assert "Traceback" not in pool.log


def have_begun(app: App, tasks: list[UUID]) -> bool:
    return all((app.folder / f"begun-{task}").exists() for task in tasks)


def test_results_that_are_too_large_for_one_statement_together_are_recorded_in_several(
    app: App, eventually: Eventually
) -> None:
    """Postgres takes 268,435,455 bytes in one JSON value."""
    pool = app.pool(num_workers=1, worker_concurrency=9, max_result_bytes=50_000_000)
    large = enqueue(app, "give", *[Order(size=34_000_000, gate="go")] * 8)
    innocent = enqueue(app, "give", Order(gate="go"))
    tasks = large + innocent
    eventually(lambda: have_begun(app, tasks), deadline=30)
    (app.folder / "go").touch()
    eventually(lambda: app.all_complete(tasks), deadline=90, every=0.5)
    assert {app.row(task).attempt for task in tasks} == {1}
    require_no_death(pool)


def test_a_result_past_the_limit_fails_its_task_once_and_names_the_setting(
    app: App, eventually: Eventually
) -> None:
    pool = app.pool(num_workers=1, max_result_bytes=1_000)
    large, innocent = enqueue(app, "give", Order(size=990, gate="go"), Order(size=980, gate="go"))
    eventually(lambda: have_begun(app, [large, innocent]), deadline=30)
    (app.folder / "go").touch()
    eventually(lambda: app.statuses([large, innocent]) == ["error", "complete"], deadline=30)
    row = app.row(large)
    assert row.attempt == 1
    assert row.result is None
    assert "takes 1001 bytes, more than AGENTEXEC_MAX_RESULT_BYTES allows (1000)" in str(row.error)
    assert "a verdict of its own" not in row.log[-1].message
    assert app.client.queue.dead_reasons([large]).keys() == {large}
    require_no_death(pool)


@pytest.mark.parametrize("key", ["x" * 300, "a\N{SNOWMAN}" * 200])
def test_a_lock_key_that_the_record_cannot_hold_fails_its_task_once(
    app: App, eventually: Eventually, key: str
) -> None:
    """The producer does not know the registration; the worker makes the key."""
    pool = app.pool(num_workers=1, max_task_retries=3)
    bad, good = enqueue(app, "locked", Order(key=key), Order(key="short"))
    (innocent,) = enqueue(app, "give", Order())
    eventually(lambda: app.statuses([bad, good, innocent]) == ["error", "complete", "complete"], deadline=30)
    assert "The lock key of locked has 1 to 255 characters" in str(app.row(bad).error)
    assert app.row(bad).attempt == 0
    require_no_death(pool)


@contextmanager
def role(app: App) -> Iterator[str]:
    """The URL of a role with the rights of a worker, and no more."""
    engine, name = app.client.engine, f"worker_{uuid4().hex}"
    url = engine.url.set(username=name, password="of-the-worker")
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-worker'"))
        connection.execute(
            text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
        )
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))


TROUBLES: dict[str, tuple[str, str]] = {
    "right": (f"REVOKE INSERT ON {LOG_TABLE} FROM {{role}}", f"GRANT INSERT ON {LOG_TABLE} TO {{role}}"),
    "column": (
        f"ALTER TABLE {ACTIVITY_TABLE} RENAME COLUMN holder TO holder_",
        f"ALTER TABLE {ACTIVITY_TABLE} RENAME COLUMN holder_ TO holder",
    ),
    "table": (
        f"ALTER TABLE {LOG_TABLE} RENAME TO {LOG_TABLE}_",
        f"ALTER TABLE {LOG_TABLE}_ RENAME TO {LOG_TABLE}",
    ),
    "not-null": (
        f"ALTER TABLE {LOG_TABLE} ADD COLUMN other int NOT NULL DEFAULT 0; "
        f"ALTER TABLE {LOG_TABLE} ALTER COLUMN other DROP DEFAULT",
        f"ALTER TABLE {LOG_TABLE} DROP COLUMN other",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_refusal_that_concerns_no_row_is_waited_for_and_charged_to_no_task(
    app: App, eventually: Eventually, trouble: str
) -> None:
    break_it, mend_it = TROUBLES[trouble]
    with role(app) as url:
        name = engine_for(url).url.username

        def run(statement: str) -> None:
            with app.client.engine.begin() as connection:
                connection.execute(text(statement.format(role=name)))

        app.environment_changes["DATABASE_URL"] = url
        pool = app.pool(num_workers=1, worker_concurrency=4, max_crashes=0, lease_seconds=3)
        running = enqueue(app, "give", Order(gate="go"))
        eventually(lambda: have_begun(app, running), deadline=30)
        tasks = running + enqueue(app, "give", *[Order(gate="start")] * 3, delay=1.0)
        run(break_it)
        try:
            (app.folder / "go").touch()
            eventually(lambda: "the database refuses every statement of this worker" in pool.log, deadline=30)
            assert app.client.queue.depth().dead == 0
        finally:
            run(mend_it)
        (app.folder / "start").touch()
        eventually(lambda: app.all_complete(tasks), deadline=30)
        assert {app.row(task).attempt for task in tasks} == {1}
        assert app.client.redis.hlen(app.client.queue.keys.crash) == 0
        assert pool.log.count("the database refuses every statement of this worker") == 1
        assert "agentexec db upgrade" in pool.log
        assert "of-the-worker" not in pool.log
        require_no_death(pool)
        pool.signal(signal.SIGTERM)
        assert pool.wait() == 0


def test_a_worker_that_waits_for_a_right_still_drains_within_its_time_out(
    app: App, eventually: Eventually
) -> None:
    break_it, mend_it = TROUBLES["right"]
    with role(app) as url:
        name = engine_for(url).url.username
        app.environment_changes["DATABASE_URL"] = url
        pool = app.pool(num_workers=1, max_crashes=0, graceful_shutdown_timeout=1)
        (task,) = enqueue(app, "give", Order(gate="go"))
        eventually(lambda: have_begun(app, [task]), deadline=30)
        with app.client.engine.begin() as connection:
            connection.execute(text(break_it.format(role=name)))
        (app.folder / "go").touch()
        eventually(lambda: "the database refuses every statement of this worker" in pool.log, deadline=30)
        pool.signal(signal.SIGTERM)
        pool.wait(30)
        with app.client.engine.begin() as connection:
            connection.execute(text(mend_it.format(role=name)))
        app.pool(num_workers=1, max_crashes=0)
        eventually(lambda: app.all_complete([task]), deadline=60)
        assert app.client.queue.depth().dead == 0
