"""The activity store on a real Postgres: migrations that agree with the models, retention that blocks no writer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from operator import eq
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity, migrations
from agentexec.activity import Activity, ActivityLog, Status, cleanup_old_activities
from agentexec.core.db import create_schema, engine_for
from agentexec.queue.ownership import store_name
from agentexec.store import statements
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE
from agentexec.store.rows import ActivityUpdate, LogEntry
from harness.environments.embedded import EmbeddedEnvironment
from tests.conftest import Eventually
from tests.support.activity_support import age, as_default
from tests.support.record import new_activity, starts
from tests.unit.agentexec.migrations.test_migrations import NAMES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def urls(servers: EmbeddedEnvironment) -> tuple[str, str]:
    return servers.endpoints.database_url, servers.endpoints.redis_url


@pytest.fixture
def database(urls: tuple[str, str]) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"activity_{uuid4().hex}"
    server = engine_for(urls[0]).execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield urls[0].rsplit("/", 1)[0] + f"/{name}"
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = engine_for(database, pool_size=4)
    yield engine
    engine.dispose()


# Migrations


def test_an_upgrade_from_nothing_equals_the_models(engine: Engine) -> None:
    assert migrations.upgrade(engine) == ["0001", "0002", "0003"]
    assert migrations.differences(engine) == []
    assert migrations.upgrade(engine) == []


def test_a_store_has_one_name_for_all_its_users(engine: Engine, urls: tuple[str, str]) -> None:
    """Before and after its tables are there, for a role without rights, and none for one that may not ask."""
    name = store_name(engine)
    assert name is not None
    create_schema(engine)
    assert store_name(engine) == name
    neighbour = engine_for(urls[0])
    assert store_name(neighbour) != name
    neighbour.dispose()
    role = f"reader_{uuid4().hex}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'"))
    reader = engine_for(
        str(engine.url.set(username=role, password="reader").render_as_string(hide_password=False))
    )
    assert store_name(reader) == name
    with engine.begin() as connection:
        connection.execute(text("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"))
    try:
        assert store_name(reader) is None
    finally:
        reader.dispose()
        with engine.begin() as connection:
            connection.execute(text("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC"))
            connection.execute(text(f"DROP ROLE {role}"))


def test_what_the_models_make_is_what_the_migrations_make(engine: Engine, urls: tuple[str, str]) -> None:
    create_schema(engine)
    assert migrations.differences(engine) == []
    assert migrations.upgrade(engine) == []  # adopted
    assert migrations.revision(engine) == "0003"


def test_a_filled_database_gets_room_for_new_versions_of_its_rows(engine: Engine) -> None:
    """The note of a dispatch stays in the page of its row, where it writes no index."""
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE agentexec_activity RESET (fillfactor)"))
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0002'"))
    assert stay(engine) < 50
    assert migrations.upgrade(engine) == ["0003"]
    assert migrations.differences(engine) == []
    assert stay(engine) > 150


def stay(engine: Engine) -> int:
    """Record 200 activities and note their dispatch; returns how many rows then are in the page that they were in."""
    activities = [new_activity() for _ in range(200)]
    ids = [activity.id for activity in activities]
    query = text(
        "SELECT split_part(ctid::text, ',', 1) FROM agentexec_activity WHERE id = ANY(:ids) ORDER BY id"
    )
    with engine.begin() as connection:
        statements.record_enqueued(connection, activities)
        before = connection.execute(query, {"ids": ids}).scalars().all()
    with engine.begin() as connection:
        statements.mark_dispatched(connection, ids)
        after = connection.execute(query, {"ids": ids}).scalars().all()
    return sum(map(eq, before, after))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE agentexec_activity DROP COLUMN error", "column agentexec_activity.error is missing"),
        ("ALTER TABLE agentexec_activity ADD COLUMN mood int", "mood is not in the models"),
        ("ALTER TABLE agentexec_activity ALTER agent_type TYPE text", "has type TEXT and should have VARCHAR(255)"),
        ("ALTER TABLE agentexec_activity ALTER queue_name DROP NOT NULL", "has nullable True and should have False"),
        ("ALTER TABLE agentexec_activity ALTER created_at DROP DEFAULT", "has default None and should have now()"),
        ("ALTER TABLE agentexec_activity DROP CONSTRAINT ck_agentexec_activity_status", "ck_agentexec_activity_status"),
        ("DROP INDEX ix_agentexec_activity_updated_at", "index ix_agentexec_activity_updated_at"),
        ("DROP TABLE agentexec_activity_log_archive", "table agentexec_activity_log_archive is missing"),
    ],
)  # fmt: skip
def test_every_difference_is_named(engine: Engine, change: str, said: str) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text(change))
    lines = migrations.differences(engine)
    assert len(lines) == 1
    assert said in lines[0]


def test_several_processes_may_upgrade_at_once(engine: Engine, database: str, eventually: Eventually) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")}
    command = [sys.executable, "-m", "agentexec", "db", "upgrade"]
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with engine.connect() as gate, ExitStack() as processes:
        gate.execute(text("SELECT pg_advisory_lock(hashtext('agentexec_alembic_version'))"))
        started = [
            processes.enter_context(
                subprocess.Popen(
                    command, env=environment | {"DATABASE_URL": database}, stdout=subprocess.PIPE
                )
            )
            for _ in range(3)
        ]
        try:  # all of them come up to the lock before the first one gets it
            eventually(lambda: gate.execute(waiting).scalar_one() == 3, deadline=30)
        finally:
            gate.execute(text("SELECT pg_advisory_unlock_all()"))
            gate.commit()
        said = sorted(process.communicate(timeout=60)[0] for process in started)
    assert said == [
        b"Applied 0001, 0002, 0003.\n",
        *[b"Nothing to do: the tables are at revision 0003.\n"] * 2,
    ]
    assert migrations.differences(engine) == []


def test_every_name_follows_the_prefix(database: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")}
    environment |= {"DATABASE_URL": database, "AGENTEXEC_TABLE_PREFIX": "tenant7_"}
    run = subprocess.run(
        [sys.executable, "-c", NAMES], env=environment, capture_output=True, text=True, check=True
    )
    assert '"differences": []' in run.stdout
    assert "agentexec_" not in run.stdout
    engine = engine_for(database)
    keys = "SELECT conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid WHERE t.relname LIKE 'tenant7%'"
    with engine.connect() as connection:
        names = [str(name) for (name,) in connection.execute(text(keys))]
    engine.dispose()
    assert len(names) >= 7
    assert [name for name in names if not name.removeprefix("ck_").startswith("tenant7_")] == []


def test_the_indexes_of_the_guide_are_there_by_name(engine: Engine) -> None:
    migrations.upgrade(engine)
    with engine.connect() as connection:
        found = {
            row.indexname: row.indexdef
            for row in connection.execute(text("SELECT indexname, indexdef FROM pg_indexes"))
        }
    assert found["ix_agentexec_activity_agent_id"].endswith("agentexec_activity USING btree (agent_id)")
    assert found["ix_agentexec_activity_log_activity_id"].endswith("activity_log USING btree (activity_id)")
    assert found["ix_agentexec_activity_log_status"].endswith("activity_log USING btree (status)")
    assert found["ix_agentexec_activity_updated_at"].endswith("activity USING btree (updated_at DESC)")


# Retention


def over(engine: Engine, count: int) -> list[UUID]:
    """Activities that are over and a year old."""
    fresh = [new_activity("retention") for _ in range(count)]
    tokens = {a.id: 1_000 for a in fresh}
    ends = [ActivityUpdate(id=i, token=1_000, n=1, status=Status.COMPLETE, message="Done.") for i in tokens]
    with engine.begin() as connection:
        statements.record_enqueued(connection, fresh)
        statements.record_batch(connection, starts(tokens), [])
        statements.record_batch(connection, [], ends)
    age(engine, timedelta(days=365), *tokens)
    return list(tokens)


def count(connection: Connection, what: object) -> int:
    return int(connection.execute(select(func.count()).select_from(what)).scalar_one())  # type: ignore[arg-type]  # a table or a model


def test_thousands_move_to_the_archive_with_their_logs(engine: Engine) -> None:
    create_schema(engine)
    over(engine, 3_000)
    with engine.begin() as connection:
        statements.record_enqueued(connection, [new_activity("retention")])
    assert cleanup_old_activities(engine, archive=True, batch_size=700) == 3_000
    with engine.connect() as connection:
        assert (count(connection, ACTIVITY_ARCHIVE), count(connection, LOG_ARCHIVE)) == (3_000, 9_000)
        assert (count(connection, Activity), count(connection, ActivityLog)) == (1, 1)


def test_a_worker_is_not_blocked_while_a_batch_is_under_way(engine: Engine, database: str) -> None:
    create_schema(engine)
    over(engine, 2_000)
    cleaning = engine_for(database)
    inside, go_on = threading.Event(), threading.Event()

    @event.listens_for(cleaning, "commit")
    def hold(_connection: Connection) -> None:
        inside.set()
        assert go_on.wait(30)

    with ThreadPoolExecutor(1) as threads:
        cleanup = threads.submit(cleanup_old_activities, cleaning, batch_size=500)
        try:
            assert inside.wait(30)  # 500 activities and their logs are deleted and not committed
            work(engine)
        finally:
            go_on.set()
        assert cleanup.result(30) == 2_000
    cleaning.dispose()


def work(engine: Engine) -> None:
    """A worker's life; every statement fails rather than wait for a lock for a second."""
    fresh = [new_activity("retention") for _ in range(100)]
    tokens = {a.id: 2_000 for a in fresh}
    for act in (
        lambda c: statements.record_enqueued(c, fresh),
        lambda c: statements.record_batch(c, starts(tokens), []),
        lambda c: statements.record_progress(
            c, [LogEntry(id=i, token=2_000, n=1, message="On it") for i in tokens]
        ),
        lambda c: statements.record_batch(
            c,
            [],
            [ActivityUpdate(id=i, token=2_000, n=2, status=Status.COMPLETE, message="Done.") for i in tokens],
        ),
    ):
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            act(connection)
    with engine.connect() as connection:
        done = select(func.count()).where(Activity.id.in_(tokens), Activity.status == Status.COMPLETE)
        assert connection.execute(done).scalar_one() == 100


def test_a_locked_row_is_left_for_the_next_round(engine: Engine) -> None:
    create_schema(engine)
    held, *_ = over(engine, 20)
    with engine.connect() as holder:
        holder.execute(select(Activity.id).where(Activity.id == held).with_for_update())
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(cleanup_old_activities, engine, batch_size=7).result(20) == 19
    assert cleanup_old_activities(engine) == 1


def test_two_clean_ups_at_once_share_the_work(engine: Engine) -> None:
    create_schema(engine)
    over(engine, 2_000)
    with ThreadPoolExecutor(2) as threads:
        shares = list(threads.map(lambda _: cleanup_old_activities(engine, batch_size=100), range(2)))
    with engine.connect() as connection:
        left = count(connection, Activity)
    assert sum(shares) + left == 2_000
    assert cleanup_old_activities(engine) == left


# Reading and canceling, as on SQLite


def test_the_api_reads_and_writes_here_as_on_sqlite(database: str, urls: tuple[str, str]) -> None:
    client = ax.Client(database_url=database, redis_url=urls[1], queue_name=f"api-{uuid4().hex}")
    create_schema(client.engine)
    with as_default(client):
        task = activity.create("import", metadata={"tenant": "a", "size": 3, "paid": True})
        activity.update(task, "On it \x00", percentage=10)
        with Session(client.engine) as session:
            for wanted in ({"tenant": "a"}, {"size": 3}, {"paid": True}, {"nothing": None}):
                assert activity.list(session, metadata_filter=wanted).total == 1
            assert activity.list(session, metadata_filter={"paid": False}).total == 0
            found = activity.detail(session, task)
            assert found is not None
            assert [entry.message for entry in found.logs][-1] == "On it \N{REPLACEMENT CHARACTER}"
            assert activity.count_active(session) == 1
        assert activity.error(task, "No")


def test_an_activity_has_one_end_however_many_callers_want_one(database: str, urls: tuple[str, str]) -> None:
    client = ax.Client(database_url=database, redis_url=urls[1], queue_name=f"api-{uuid4().hex}")
    create_schema(client.engine)
    ends = (activity.complete, activity.error, activity.cancel)
    with as_default(client), ThreadPoolExecutor(6) as threads:
        for _ in range(10):
            task = activity.create("import")
            won = list(threads.map(lambda n, task=task: bool(ends[n % 3](task)), range(6)))
            assert won.count(True) == 1
            with Session(client.engine) as session:
                found = activity.detail(session, task)
            assert found is not None
            assert [entry.status.terminal for entry in found.logs].count(True) == 1


def test_an_async_session_is_answered_with_an_awaitable(database: str, urls: tuple[str, str]) -> None:
    client = ax.Client(database_url=database, redis_url=urls[1], queue_name=f"api-{uuid4().hex}")
    create_schema(client.engine)

    async def service() -> None:
        engine = create_async_engine(client.settings.require_database_url())
        async with AsyncSession(engine) as session:
            assert await activity.count_active(session) == 1
            assert (await activity.list(session, metadata_filter={"tenant": "a"})).total == 1
            found = await activity.detail(session, task)
            assert found is not None
            assert [entry.message for entry in found.logs] == ["Agent queued"]
        async with AsyncSession(engine) as session:
            assert await activity.cancel_pending(session) == 0
        await engine.dispose()

    with as_default(client):
        task = activity.create("import", metadata={"tenant": "a"})
        asyncio.run(service())
