"""Whether a drain slows down with what is stored: beside a million finished activities, and on empty tables.

Two databases of one server, one of them filled, are drained in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from agentexec.activity.models import ACTIVITY_TABLE, LOG_TABLE
from agentexec.core.db import create_schema, engine_for
from loadtests.bench.bench import Figure, Ground, Result, in_turn
from loadtests.bench.throughput import CONCURRENCY, DRAINED, WORKERS, drain_rate

FINISHED = 1_000_000
CHUNK = 100_000
BOUND = 0.9  # of the rate on empty tables

# Version 7 ids of the past, a millisecond apart, as the tasks of such a table would have.
_ID = """CAST(lpad(to_hex(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) - :all + i), 12, '0')
    || '7' || substr(md5(CAST(i AS text)), 1, 3) || '8' || substr(md5(CAST(i AS text)), 4, 15) AS uuid)"""
_WHEN = "clock_timestamp() - (:all - i) * interval '1 millisecond'"
_FILL = text(
    f"""WITH filled AS (
        INSERT INTO {ACTIVITY_TABLE} (id, agent_id, queue_name, agent_type, status, fence, attempt, failures, priority,
            context, created_at, updated_at, dispatched_at)
        SELECT id, id, 'bench-stored', 'bench.nothing', 'complete', i + 1, 1, 0, 1, '{{"number": 1}}', at, at, at
        FROM (SELECT i, {_ID} AS id, {_WHEN} AS at
              FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i) AS past
        RETURNING id, fence, updated_at
    )
    INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
    SELECT filled.id, CASE WHEN entry.status = 'queued' THEN 0 ELSE filled.fence END, entry.n, entry.status,
        entry.message, entry.percentage, filled.updated_at
    FROM filled, (VALUES (0, 'queued', 'Waiting to start.', 0), (0, 'running', 'Task started.', 0),
        (1, 'complete', 'Task completed successfully.', 100)) AS entry(n, status, message, percentage)"""
)


def stored(ground: Ground, repeats: int) -> Result:
    """Tasks per second of a drain with a million finished activities and their logs in the tables, and with none."""
    tasks, finished = ground.scaled(DRAINED), ground.scaled(FINISHED)
    with _database(ground) as full, _database(ground) as empty:
        _fill(full, finished)
        rate_full, rate_empty = in_turn(
            repeats, lambda: drain_rate(full, tasks), lambda: _drain_of_empty(empty, tasks)
        )
    what = f"drain, {WORKERS} workers x {CONCURRENCY}"
    return Result(
        figure=Figure(name=f"{what}, {finished:,} finished", unit="tasks/s", values=rate_full),
        floor=Figure(name=f"{what}, empty tables", unit="tasks/s", values=rate_empty),
        beside="that of empty tables",
        wanted=BOUND,
    )


def _drain_of_empty(ground: Ground, tasks: int) -> float:
    with _engine(ground) as engine, engine.connect() as connection:
        connection.execute(text(f"TRUNCATE {LOG_TABLE}, {ACTIVITY_TABLE}"))
    return drain_rate(ground, tasks)


def _fill(ground: Ground, finished: int) -> None:
    with _engine(ground) as engine, engine.connect() as connection:
        connection.execute(text("SET synchronous_commit = off"))
        # The rows come with their parents, so the server need not look each of them up.
        connection.execute(text("SET session_replication_role = replica"))
        for first in range(0, finished, CHUNK):
            last = min(finished, first + CHUNK) - 1
            connection.execute(_FILL, {"all": finished, "first": first, "last": last})
        connection.execute(text(f"VACUUM ANALYZE {ACTIVITY_TABLE}, {LOG_TABLE}"))
        connection.execute(text("CHECKPOINT"))


@contextmanager
def _database(ground: Ground) -> Iterator[Ground]:
    """A database of its own with agentexec's tables; dropped afterwards."""
    name = f"bench_{uuid4().hex[:12]}"
    url = make_url(ground.endpoints.database_url).set(database=name)
    other = replace(
        ground,
        endpoints=replace(ground.endpoints, database_url=url.render_as_string(hide_password=False)),
    )
    with _engine(ground) as server, server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            with _engine(other) as engine:
                create_schema(engine)
            yield other
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _engine(ground: Ground) -> Iterator[Engine]:
    engine = engine_for(ground.endpoints.database_url)
    try:
        yield engine.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()
