"""A drain with a million finished activities in the tables, compared with one on empty tables.

Two databases of one server, one of them filled, are drained in turn. The result has the rate and Postgres's processor
time per task, which depends far less on other load of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import psutil
from sqlalchemy import text

from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure
from loadtests.bench.filled import autocommit, fill_finished, other_database
from loadtests.bench.throughput import CONCURRENCY, DRAINED, WORKERS, drain_rate

FINISHED = 1_000_000
# The lowest rate relative to empty tables.
BOUND = 0.9


def stored(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Drains with and without a million finished activities and their logs: rate and Postgres's time per task."""
    tasks, finished = environment.scaled(DRAINED), environment.scaled(FINISHED)
    with other_database(environment) as full, other_database(environment) as empty:
        with autocommit(full) as engine:
            fill_finished(engine, finished)
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
    with autocommit(empty) as engine, engine.connect() as connection:
        connection.execute(text(f"TRUNCATE {LOG_TABLE}, {ACTIVITY_TABLE}"))
    if number % 2:
        of_empty = _drain(empty, tasks)
        return _drain(full, tasks), of_empty
    return _drain(full, tasks), _drain(empty, tasks)


def _drain(environment: BenchEnvironment, tasks: int) -> Measured:
    with autocommit(environment) as engine, engine.connect() as connection:
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
