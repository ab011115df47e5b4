"""A drain with a million finished activities in the tables, compared with one on empty tables.

Two databases of one server, one of them filled, are drained in turn. The result has the rate and Postgres's processor
time per task, which depends far less on other load of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import psutil
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from agentexec.core.db import create_schema, engine_for
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure
from loadtests.bench.throughput import CONCURRENCY, DRAINED, WORKERS, drain_rate

FINISHED = 1_000_000
CHUNK = 100_000
# The lowest rate relative to empty tables.
BOUND = 0.9

# UUIDs of version 7 from the past, a millisecond apart.
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


def stored(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Drains with and without a million finished activities and their logs: rate and Postgres's time per task."""
    tasks, finished = environment.scaled(DRAINED), environment.scaled(FINISHED)
    with _database(environment) as full, _database(environment) as empty:
        _fill(full, finished)
        rounds = [_round(full, empty, tasks, number) for number in range(repeats + 1)][1:]
    of_full, of_empty = zip(*rounds, strict=True)
    return [
        _result(
            f"drain, {WORKERS} workers x {CONCURRENCY}", finished, "tasks/s", 0, full=of_full, empty=of_empty
        ),
        _result("Postgres's time for each task", finished, "µs", 1, full=of_full, empty=of_empty),
    ]


# Tasks per second, and server microseconds per task.
Measured = tuple[float, float]


def _result(
    what: str, finished: int, unit: str, which: int, *, full: Sequence[Measured], empty: Sequence[Measured]
) -> BenchResult:
    rate = which == 0

    def figure(name: str, values: Sequence[Measured]) -> Figure:
        return Figure(name=name, unit=unit, values=tuple(v[which] for v in values), higher_is_better=rate)

    return BenchResult(
        figure=figure(f"{what}, {finished:,} finished", full),
        floor=figure(f"{what}, empty tables", empty),
        beside="that of empty tables",
        wanted=BOUND if rate else None,
    )


def _round(
    full: BenchEnvironment, empty: BenchEnvironment, tasks: int, number: int
) -> tuple[Measured, Measured]:
    """One drain of each; which one is first alternates."""
    with _engine(empty) as engine, engine.connect() as connection:
        connection.execute(text(f"TRUNCATE {LOG_TABLE}, {ACTIVITY_TABLE}"))
    if number % 2:
        of_empty = _drain(empty, tasks)
        return _drain(full, tasks), of_empty
    return _drain(full, tasks), _drain(empty, tasks)


def _drain(environment: BenchEnvironment, tasks: int) -> Measured:
    with _engine(environment) as engine, engine.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        server = psutil.Process(int(pid)).parent()
        assert server is not None
        before = _spent(server)
        rate = drain_rate(environment, tasks)
        return rate, 1e6 * (_spent(server) - before) / tasks


def _spent(server: psutil.Process) -> float:
    """Seconds of processor time of a server, with its running and its ended processes."""
    while True:
        own = server.cpu_times()
        try:
            living = [child.cpu_times() for child in server.children()]
        except psutil.NoSuchProcess:  # it ended meanwhile, so its time is now that of the server
            continue
        ended = own.children_user + own.children_system
        return own.user + own.system + ended + sum(times.user + times.system for times in living)


def _fill(environment: BenchEnvironment, finished: int) -> None:
    with _engine(environment) as engine, engine.connect() as connection:
        connection.execute(text("SET synchronous_commit = off"))
        # No foreign key checks: the rows are inserted with their parents.
        connection.execute(text("SET session_replication_role = replica"))
        for first in range(0, finished, CHUNK):
            last = min(finished, first + CHUNK) - 1
            connection.execute(_FILL, {"all": finished, "first": first, "last": last})
        connection.execute(text(f"VACUUM ANALYZE {ACTIVITY_TABLE}, {LOG_TABLE}"))
        connection.execute(text("CHECKPOINT"))


@contextmanager
def _database(environment: BenchEnvironment) -> Iterator[BenchEnvironment]:
    """A new database with agentexec's tables, dropped at the end."""
    name = f"bench_{uuid4().hex[:12]}"
    url = make_url(environment.endpoints.database_url).set(database=name)
    other = replace(
        environment,
        endpoints=replace(environment.endpoints, database_url=url.render_as_string(hide_password=False)),
    )
    with _engine(environment) as server, server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            with _engine(other) as engine:
                create_schema(engine)
            yield other
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _engine(environment: BenchEnvironment) -> Iterator[Engine]:
    engine = engine_for(environment.endpoints.database_url)
    try:
        yield engine.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()
