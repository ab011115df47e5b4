"""What each part of a record costs Postgres: the processor time of its session, beside that of the floor.

Processor time hardly depends on other work of the machine. Linux only: it is read from the scheduler's counters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import psycopg
from sqlalchemy.engine import make_url

from agentexec.core.db import KeptConnection, create_schema, engine_for
from agentexec.identifiers import new_id
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from agentexec.store.rows import ActivityUpdate, NewActivity, Start
from agentexec.store.statements import record_batch, record_enqueued
from agentexec.store.status import Status
from harness.environments.urls import plain_url
from loadtests.bench import floor
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, in_turn

ALONE, BATCH = 1, 100
TASKS = 2_000
# Of the tables without a part of what they promise.
WITHOUT: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "": (),
        ", without the log's foreign key": (
            f"ALTER TABLE {LOG_TABLE} DROP CONSTRAINT {LOG_TABLE}_activity_id_fkey",
        ),
        ", without the four indexes of the guide": (
            f"DROP INDEX ix_{ACTIVITY_TABLE}_agent_id, ix_{ACTIVITY_TABLE}_updated_at,"
            f" ix_{LOG_TABLE}_activity_id, ix_{LOG_TABLE}_status",
        ),
    }
)


def recording(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Postgres's processor time of a task: its enqueue, and its start and end, alone and in batches."""
    results: list[BenchResult] = []
    with ExitStack() as stack:
        least = stack.enter_context(_floor(environment))
        ours = {title: stack.enter_context(_tables(environment, sql)) for title, sql in WITHOUT.items()}
        for what in ("enqueue", "run"):
            for size in (ALONE, BATCH):
                tasks = environment.scaled(TASKS) // (1 if size == BATCH else 10)
                sessions = [least, *ours.values()]
                costs = in_turn(repeats, *(partial(getattr(one, what), size, tasks) for one in sessions))
                name = {"enqueue": "enqueue", "run": "start and end"}[what] + f", {size} at a time"
                beside, *values = (
                    partial(Figure, unit="µs", values=v, higher_is_better=False) for v in costs
                )
                results += [
                    BenchResult(figure=figure(name=name + title), floor=beside(name=f"{name}: floor"))
                    for title, figure in zip(ours, values, strict=True)
                ]
    return results


class _Session:
    """A connection, whose session's processor time is measured."""

    def __init__(self, pid: int) -> None:
        self._counters = Path(f"/proc/{pid}/schedstat")

    def enqueue(self, size: int, tasks: int) -> float:
        """Microseconds of a task's enqueue."""
        before = self._spent()
        for _ in range(0, tasks, size):
            self._enqueue(size)
        return (self._spent() - before) / tasks

    def run(self, size: int, tasks: int) -> float:
        """Microseconds of a task's start and end, in statements that end a batch and start the next one."""
        for _ in range(0, tasks, size):
            self._enqueue(size)
        before = self._spent()
        for _ in range(0, tasks + size, size):
            self._step(size)
        return (self._spent() - before) / tasks

    def _spent(self) -> float:
        return int(self._counters.read_text("ascii").split()[0]) / 1e3

    def _enqueue(self, size: int) -> None:
        raise NotImplementedError

    def _step(self, size: int) -> None:
        raise NotImplementedError


class _Floor(_Session):
    def __init__(self, connection: psycopg.Connection) -> None:
        super().__init__(connection.info.backend_pid)
        self._connection = connection
        self._claimed: list[floor.Claimed] = []

    def _enqueue(self, size: int) -> None:
        floor.enqueue(self._connection, [b'{"number":1}'] * size)

    def _step(self, size: int) -> None:
        self._claimed = floor.step(self._connection, self._claimed, size)


class _Recorded(_Session):
    def __init__(self, kept: KeptConnection) -> None:
        with kept.begin() as connection:
            driver: psycopg.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
            super().__init__(driver.info.backend_pid)
        self._kept = kept
        self._tokens = count(1)
        self._waiting: list[NewActivity] = []
        self._running: list[Start] = []

    def _enqueue(self, size: int) -> None:
        rows = [_activity() for _ in range(size)]
        with self._kept.begin() as connection:
            record_enqueued(connection, rows, new_ids=True)
        self._waiting += rows

    def _step(self, size: int) -> None:
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        starts = [Start(row.id, next(self._tokens), "Started.", "worker") for row in taken]
        with self._kept.begin() as connection:
            record_batch(connection, starts, [_end(start) for start in self._running])
        self._running = starts


def _activity() -> NewActivity:
    return NewActivity(
        id=new_id(),
        queue_name="bench",
        task_name="bench.nothing",
        context={"number": 1},
        priority=1,
        message="Waiting.",
    )


def _end(start: Start) -> ActivityUpdate:
    return ActivityUpdate(id=start.id, token=start.token, n=1, status=Status.COMPLETE, message="Completed.")


@contextmanager
def _database(environment: BenchEnvironment) -> Iterator[str]:
    url, name = plain_url(environment.endpoints.database_url), f"bench_{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def _floor(environment: BenchEnvironment) -> Iterator[_Session]:
    with _database(environment) as url, floor.connect(url) as connection:
        floor.create(connection)
        yield _Floor(connection)


@contextmanager
def _tables(environment: BenchEnvironment, changes: Sequence[str]) -> Iterator[_Session]:
    with _database(environment) as url:
        engine = engine_for(url)
        create_schema(engine)
        with engine.begin() as connection:
            for change in changes:
                connection.exec_driver_sql(change)
        kept = KeptConnection(engine)
        yield _Recorded(kept)
        kept.close()
        engine.dispose()
