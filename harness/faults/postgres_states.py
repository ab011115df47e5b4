"""States of Postgres that operators meet: without free connections, locked tables, read-only, canceled statements."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql

from harness.environments.base import Endpoints, Service
from harness.environments.urls import plain_url
from harness.errors import GateError, HarnessError, first_line
from harness.faults.backends import OTHER_SESSIONS, TERMINATE
from harness.faults.held_state import striking
from harness.history import InjectionKind
from harness.history.promises import Loss

Connection = psycopg.Connection[tuple[Any, ...]]

_POLL_SECONDS = 0.005
MOST_WAIT_SECONDS = 10.0
"""How long a fault waits for a moment when no transaction uses a table; some systems have none."""
TABLES_IN_USE = (
    f"some table of Postgres was in use at each moment of {MOST_WAIT_SECONDS:g} s. "
    "Run this fault on a target with shorter transactions."
)
# Most statements take a millisecond or less, so that one look in a while would see hardly any.
_SWEEPS = 100
_REMEDY = "Run this fault on a target that uses Postgres, with more tasks."
NO_CONNECTION = f"Postgres had nothing to strike: it had no connection. {_REMEDY}"
# No cluster of a test has more; the loop ends at the first refusal.
_MOST_CONNECTIONS = 2_000
_TABLES: LiteralString = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY c.oid
"""
# What `ALTER SYSTEM` has set, whether it is applied or not.
_ALTERED: LiteralString = """
SELECT DISTINCT ON (name) name, setting FROM pg_file_settings
WHERE name = ANY(%s) AND sourcefile LIKE '%%postgresql.auto.conf' ORDER BY name, seqno DESC
"""
RELOAD: LiteralString = "SELECT pg_reload_conf()"
"""Lets the server read its files of settings again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionsExhausted:
    """Every connection of Postgres is taken: it refuses new ones, and ends those of the target."""

    name: str = "exhaust-connections"
    kind: InjectionKind = InjectionKind.DISCONNECT
    loss: Loss = Loss.DATABASE_FULL
    service: Service = "postgres"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """Terminate the other connections and take their places, again and again."""
        with postgres_of(endpoints) as postgres, ExitStack() as taken:
            kept: list[int] = []

            def take() -> int:
                ended = count_of(postgres, f"{TERMINATE} AND pid <> ALL(%s)", kept)
                with suppress(psycopg.OperationalError):  # the server has no place any more
                    while len(kept) < _MOST_CONNECTIONS:
                        one = taken.enter_context(closing(_connect(endpoints)))
                        kept.append(one.info.backend_pid)
                return ended

            with striking(take, NO_CONNECTION):
                yield


@dataclass(frozen=True, kw_only=True, slots=True)
class TablesLocked:
    """Every table is locked as by `VACUUM FULL` or a migration: no statement of the target ends."""

    name: str = "lock-tables"
    kind: InjectionKind = InjectionKind.PAUSE
    loss: Loss = Loss.DATABASE_LOCKED
    service: Service = "postgres"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """Lock all tables at a moment when all are free: a lock that waits could deadlock with the target.

        Raises `GateError` if there is no such moment.
        """
        with postgres_of(endpoints) as postgres, tables_locked(postgres):
            yield


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOnly:
    """Postgres refuses every write, as a standby or a managed server whose disk is full does."""

    name: str = "read-only-postgres"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.DATABASE_READ_ONLY
    service: Service = "postgres"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """`default_transaction_read_only` for all sessions, and its value before."""
        with postgres_of(endpoints) as postgres:
            # The session of the fault itself has to end the state.
            postgres.execute("SET default_transaction_read_only = off")
            with altered(postgres, {"default_transaction_read_only": "on"}):
                yield


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementsCanceled:
    """Statements that run are canceled, again and again, as by a statement time-out or an operator."""

    name: str = "cancel-statements"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.STATEMENTS_CANCELED
    service: Service = "postgres"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """`pg_cancel_backend` for each session that runs a statement."""
        with postgres_of(endpoints) as postgres:
            cancel = f"SELECT count(pg_cancel_backend(pid)) {OTHER_SESSIONS} AND state = 'active'"
            with striking(
                lambda: sum(count_of(postgres, cancel) for _ in range(_SWEEPS)),
                f"Postgres had nothing to strike: it ran no statement. {_REMEDY}",
            ):
                yield


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendsTerminated:
    """Every connection is terminated, again and again, as by a pooler that restarts in a loop."""

    name: str = "terminate-storm"
    kind: InjectionKind = InjectionKind.DISCONNECT
    loss: Loss = Loss.BACKENDS_TERMINATED
    service: Service = "postgres"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """`pg_terminate_backend` for every other connection."""
        with postgres_of(endpoints) as postgres:
            with striking(lambda: count_of(postgres, TERMINATE), NO_CONNECTION):
                yield


def count_of(postgres: Connection, query: LiteralString, *parameters: object) -> int:
    """The number that a query returns, such as that of the sessions that it has hit."""
    row = postgres.execute(query, parameters).fetchone()
    return int(row[0]) if row else 0


def alter_system(postgres: Connection, values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Write settings into the file of ALTER SYSTEM, None to remove one; returns what it had. `RELOAD` applies it."""
    rows = postgres.execute(_ALTERED, [list(values)]).fetchall()
    before = dict.fromkeys(values) | dict(rows)
    for name, value in values.items():
        reset, change = sql.SQL("ALTER SYSTEM RESET {}"), sql.SQL("ALTER SYSTEM SET {} = {}")
        own = sql.Identifier(name)
        postgres.execute(reset.format(own) if value is None else change.format(own, sql.Literal(value)))
    return before


@contextmanager
def altered(postgres: Connection, values: Mapping[str, str | None]) -> Iterator[None]:
    """The server has these settings inside the context, and afterwards those that it had."""
    before = alter_system(postgres, values)
    try:
        postgres.execute(RELOAD)
        yield
    finally:
        alter_system(postgres, before)
        postgres.execute(RELOAD)


def _connect(endpoints: Endpoints) -> Connection:
    return psycopg.connect(plain_url(endpoints.database_url), autocommit=True)


@contextmanager
def tables_locked(postgres: Connection) -> Iterator[Sequence[sql.Identifier]]:
    """A transaction with a lock on every table, taken at a moment when all are free; the names of the tables.

    Raises `GateError` if there is no table or no such moment.
    """
    names = [sql.Identifier(*row) for row in postgres.execute(_TABLES).fetchall()]
    if not names:
        raise GateError(f"Postgres has no table to lock. {_REMEDY}")
    lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(sql.SQL(", ").join(names))
    for _ in moments():
        with suppress(errors.LockNotAvailable), postgres.transaction():
            postgres.execute(lock)
            yield names
            return
    raise GateError(TABLES_IN_USE)


def moments() -> Iterator[None]:
    """Moments at which to try whether no table is in use, for `MOST_WAIT_SECONDS`: a lock that waits could deadlock."""
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_SECONDS)


@contextmanager
def postgres_of(endpoints: Endpoints) -> Iterator[Connection]:
    """A connection for a fault; raises `HarnessError` with one sentence if Postgres refuses."""
    try:
        with closing(_connect(endpoints)) as connection:
            yield connection
    except psycopg.Error as error:
        raise HarnessError(f"Postgres refused: {first_line(error)}. See its log.") from None
