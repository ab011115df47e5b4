"""Databases with agentexec's tables, and tables with the rows of a long time in production.

The finished activities have the ids, the times and the order of rows that were enqueued and run one after the other,
over 90 days, in several queues, with contexts of some hundred bytes and 2 to 4 log entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from agentexec.core.db import create_schema, engine_for
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from loadtests.bench.bench import BenchEnvironment

CHUNK = 100_000

# UUIDs of version 7 whose time is that of `_WHEN`.
_ID = """CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0')
    || '7' || substr(md5(CAST(i AS text)), 1, 3) || '8' || substr(md5(CAST(i AS text)), 4, 15) AS uuid)"""
_CONTEXT = """jsonb_build_object('number', i, 'customer', md5(CAST(i AS text)),
    'prompt', repeat(md5(CAST(i / 7 AS text)) || ' ', 3 + CAST(i % 9 AS int)))"""
_INSERT = f"""INSERT INTO {ACTIVITY_TABLE} (id, agent_id, queue_name, agent_type, status, fence, holder, attempt,
        failures, priority, context, metadata, result, error, idempotency_key, created_at, updated_at, dispatched_at,
        dead_lettered_at)"""
_FINISHED = text(
    f"""WITH times AS (
        SELECT i, :until - (:all - i) * (interval '90 days' / :all) AS at,
            (ARRAY['error', 'canceled'])[CASE WHEN i % 50 = 0 THEN 1 WHEN i % 100 = 1 THEN 2 END] AS bad
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i
    ), filled AS (
        {_INSERT}
        SELECT {_ID}, {_ID}, 'filled-' || i % 4, 'filled.agent-' || i % 8, coalesce(bad, 'complete'),
            i + 1, 'pool-' || i % 3, 1, CASE WHEN bad = 'error' THEN 1 ELSE 0 END, i % 4, {_CONTEXT},
            CASE WHEN i % 2 = 0 THEN jsonb_build_object('organization_id', 'org-' || i % 1000) END,
            CASE WHEN bad IS NULL AND i % 3 = 0 THEN to_jsonb(md5(CAST(i AS text))) END,
            CASE WHEN bad = 'error' THEN 'ValueError: ' || md5(CAST(i AS text)) END,
            CASE WHEN i % 10 = 0 THEN 'filled-' || i || '-' || :run END, at, at + interval '2 seconds', at,
            CASE WHEN i % 5000 = 0 THEN at END
        FROM times
        RETURNING id, fence, status, created_at
    )
    INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
    SELECT filled.id, CASE WHEN entry.status = 'queued' THEN 0 ELSE filled.fence END, entry.n,
        coalesce(entry.status, filled.status), entry.message, entry.percentage,
        filled.created_at + (entry.n + 1) * interval '500 milliseconds'
    FROM filled, (VALUES (0, 'queued', 'Waiting to start.', 0), (0, 'running', 'Task started.', 0),
        (1, 'running', 'Half of the documents are read.', 50), (2, NULL, 'The task ended.', 100))
        AS entry(n, status, message, percentage)
    WHERE entry.status IS DISTINCT FROM 'running' OR filled.status <> 'canceled' AND (n = 0 OR filled.fence % 4 = 0)"""
)
_QUEUED = text(
    f"""WITH times AS (
        SELECT i, :until - (:all - i) * (interval '1 hour' / :all) AS at
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i
    ), filled AS (
        {_INSERT}
        SELECT {_ID}, {_ID}, :queue, 'bench.nothing', 'queued', 0, NULL, 0, 0, 2, {_CONTEXT}, NULL, NULL, NULL, NULL,
            at, at, NULL, NULL
        FROM times
        RETURNING id, created_at
    )
    INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
    SELECT id, 0, 0, 'queued', 'Waiting to start.', 0, created_at FROM filled"""
)


def fill_finished(engine: Engine, number: int) -> None:
    """Add finished activities that were enqueued over 90 days, up to two hours ago."""
    run = uuid4().hex[:8]
    with _filling(engine) as connection:
        until = connection.execute(text("SELECT now() - interval '2 hours'")).scalar_one()
        for first in range(0, number, CHUNK):
            last = min(number, first + CHUNK) - 1
            chunk = {"all": number, "first": first, "last": last, "until": until, "run": run}
            connection.execute(_FINISHED, chunk)


def fill_queued(engine: Engine, queue_name: str, number: int) -> None:
    """Add activities of the last hour that are queued and not dispatched."""
    with _filling(engine) as connection:
        until = connection.execute(text("SELECT now() - interval '5 seconds'")).scalar_one()
        for first in range(0, number, CHUNK):
            last = min(number, first + CHUNK) - 1
            chunk = {"all": number, "first": first, "last": last, "until": until, "queue": queue_name}
            connection.execute(_QUEUED, chunk)


@contextmanager
def _filling(engine: Engine) -> Iterator[Connection]:
    """A connection for fast inserts; at the end, the tables are as after a vacuum and a checkpoint."""
    with engine.connect() as connection:
        connection.execute(text("SET synchronous_commit = off"))
        # No foreign key checks: the rows are inserted with their parents.
        connection.execute(text("SET session_replication_role = replica"))
        yield connection
        vacuum(connection)


def vacuum(connection: Connection) -> None:
    """Remove all dead rows of the tables and refresh their statistics, then write everything to disk."""
    connection.execute(text(f"VACUUM ANALYZE {ACTIVITY_TABLE}, {LOG_TABLE}"))
    connection.execute(text("CHECKPOINT"))


@contextmanager
def other_database(environment: BenchEnvironment) -> Iterator[BenchEnvironment]:
    """A new database with agentexec's tables, dropped at the end."""
    name = f"bench_{uuid4().hex[:12]}"
    url = make_url(environment.endpoints.database_url).set(database=name)
    other = replace(
        environment,
        endpoints=replace(environment.endpoints, database_url=url.render_as_string(hide_password=False)),
    )
    with autocommit(environment) as server, server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            with autocommit(other) as engine:
                create_schema(engine)
            yield other
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def autocommit(environment: BenchEnvironment) -> Iterator[Engine]:
    """An engine of its database that commits each statement."""
    engine = engine_for(environment.endpoints.database_url, timeout=3600.0)
    try:
        yield engine.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()
