"""A state of Postgres: statements of its clients end again and again because of a deadlock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

from psycopg import errors, sql

from harness.environments.base import Endpoints, Service
from harness.environments.deadlocks import CAUSED
from harness.errors import GateError
from harness.faults.held_state import repeated
from harness.faults.postgres_states import Connection, altered, count_of, postgres_of
from harness.faults.process import wait_until
from harness.history import InjectionKind
from harness.history.promises import Loss

# Postgres looks for a deadlock once, so long after a wait began. A client has to wait already when the storm closes the
# circle, and it is the victim because the storm looks later.
_CLIENT_TIMEOUT, _OWN_TIMEOUT, _MOST_WAIT = "300ms", "10s", "1s"
_FIRST_ROWS, _ROWS = 4, 60
_BETWEEN_SECONDS = 0.3
_REPORTED_SECONDS = 3.0
# While one has the last rows, the other is next in line for them: what clients have to change meanwhile, they change
# in one statement, which then meets the other.
_SESSIONS = 2
_BUSIEST: LiteralString = """
SELECT s.relid::regclass::text, array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
FROM pg_stat_user_tables AS s JOIN pg_index AS i ON i.indrelid = s.relid AND i.indisprimary
JOIN pg_attribute AS a ON a.attrelid = s.relid AND a.attnum = ANY(i.indkey)
WHERE s.n_tup_upd > 0 GROUP BY s.relid, s.n_tup_upd ORDER BY s.n_tup_upd DESC LIMIT 1
"""
_IN_CIRCLE: LiteralString = """
SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid)) AND pid = ANY(pg_blocking_pids(%s))
"""
# A circle lasts for less than a time-out of a client, so that one look in a while may miss it.
_DEADLOCKS: LiteralString = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlockStorm:
    """Two sessions lock rows of the table that is updated most, the last ones first: not in the order of most systems.

    A statement that holds an earlier row and waits for a later one is ended by Postgres (`deadlock detected`), and its
    transaction with it.
    """

    name: str = "storm-deadlocks"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.DATABASE_DEADLOCKS
    service: Service = "postgres"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """Lock rows until the end; raises `GateError` if no client is in a deadlock with the storm."""
        with postgres_of(endpoints) as postgres, ExitStack() as opened:
            first, rest = _locks(postgres)
            sessions = [opened.enter_context(postgres_of(endpoints)) for _ in range(_SESSIONS)]
            for one in sessions:
                one.execute(sql.SQL("SET deadlock_timeout = {}").format(_OWN_TIMEOUT))
                one.execute(sql.SQL("SET lock_timeout = {}").format(_MOST_WAIT))
            pids = [one.info.backend_pid for one in sessions]
            before, hits = count_of(postgres, _DEADLOCKS), [0]

            def hit() -> bool:
                circles = sum(count_of(postgres, _IN_CIRCLE, pid, pid) for pid in pids)
                hits.append(circles + count_of(postgres, _DEADLOCKS) - before)
                return any(hits)

            with altered(postgres, {"deadlock_timeout": _CLIENT_TIMEOUT}), repeated(hit):
                with ExitStack() as locking:
                    for one in sessions:
                        locking.enter_context(repeated(partial(_lock, one, first, rest)))
                    yield
                wait_until(hit, _REPORTED_SECONDS)
            if not any(hits):
                raise GateError(
                    "Postgres had nothing to strike: no statement waited for a row while it held an earlier one. "
                    "Run this fault on a target that changes several rows at once, with more tasks."
                )


def _lock(session: Connection, first: sql.Composed, rest: sql.Composed) -> None:
    with suppress(errors.LockNotAvailable, errors.DeadlockDetected), session.transaction():
        session.execute(first)
        time.sleep(_BETWEEN_SECONDS)
        session.execute(rest)


def _locks(postgres: Connection) -> tuple[sql.Composed, sql.Composed]:
    """The statements that lock the last rows, and those before them."""
    # Sessions report what they changed once a second, and a crash of the server forgets it.
    if not wait_until(lambda: postgres.execute(_BUSIEST).fetchone() is not None, _REPORTED_SECONDS):
        raise GateError(
            "Postgres had nothing to strike: no row of a table with a primary key was changed. "
            "Run this fault on a target that uses Postgres, with more tasks."
        )
    [(name, columns)] = postgres.execute(_BUSIEST).fetchall()
    order = sql.SQL(", ").join(sql.SQL("{} DESC").format(sql.Identifier(column)) for column in columns)
    lock = sql.SQL("{} SELECT FROM {} ORDER BY {} LIMIT {} OFFSET {} FOR UPDATE")
    table = sql.SQL(name)
    return (
        lock.format(sql.SQL(CAUSED), table, order, sql.Literal(_FIRST_ROWS), sql.Literal(0)),
        lock.format(sql.SQL(CAUSED), table, order, sql.Literal(_ROWS), sql.Literal(_FIRST_ROWS)),
    )
