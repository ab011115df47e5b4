"""The schema, the virtual clock and the connections of all simulations of one interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine

from agentexec.config import normalised_database_url
from agentexec.core.db import create_schema
from agentexec.store.models import OWN_TABLES
from harness.errors import EnvironmentUnavailable
from harness.masking import masked
from harness.simulation.postgres.backend import Backend
from harness.simulation.triggers import TRIGGERS

# The functions of this schema hide those of pg_catalog, also in the defaults of the columns. The clock is a sequence:
# its value is outside of all transactions, so a statement that waited for a lock reads the time at which it goes on.
_CLOCK = """
CREATE SEQUENCE virtual_clock MINVALUE 0;
CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS
    'BEGIN RETURN (SELECT pg_catalog.to_timestamp(last_value / 1000000.0) FROM virtual_clock); END';
CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT clock_timestamp()';
CREATE FUNCTION statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT clock_timestamp()';
CREATE FUNCTION transaction_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT clock_timestamp()';
"""
_SETTINGS = {
    "deadlock_timeout": "1ms",
    "log_lock_waits": "on",
    "client_min_messages": "log",
    "lc_messages": "C",
    "synchronous_commit": "off",
    # The same plan in each run, whatever ran before it: the plans of a session end when the tables are emptied.
    "plan_cache_mode": "force_generic_plan",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
}
_BY_HAND = "ALTER TABLE {} SET (autovacuum_enabled = off)"
_TABLES = [sql.Identifier(table.name) for table in OWN_TABLES]
_EMPTY = sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(_TABLES))
_LOCK_WAITS = """SELECT pid, waitstart::text, pg_blocking_pids(pid) FROM pg_locks
    WHERE NOT granted AND pid = ANY(%s)"""


class LockWait(NamedTuple):
    """Since when a statement waits for its present lock, and the processes of the server that it waits for."""

    since: str | None
    blockers: frozenset[int]


class RealDatabase:
    """A schema of a real database, whose tables one simulation after another uses."""

    def __init__(self, url: str, schema: str) -> None:
        """Create the schema; raises `EnvironmentUnavailable` if the server does not let this role do that."""
        self._url = url
        self.schema = schema
        self._options = " ".join(
            f"-c {name}={value}"
            for name, value in {"search_path": f"{schema},pg_catalog", **_SETTINGS}.items()
        )
        self._backends: list[Backend] = []
        try:
            self._own = self._connect()
            self._own.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            self._own.execute(_CLOCK)
        except psycopg.Error as error:
            raise EnvironmentUnavailable(
                f"The Postgres at {masked(url)} cannot run simulations: {str(error).splitlines()[0]}. Name a database "
                "made for them and a superuser of its server, or leave the URL out."
            ) from None
        # For queries of the harness; its dialect serves the engines of all simulated processes.
        self.engine: Engine = create_engine(
            normalised_database_url(url),
            connect_args={"options": self._options},
            use_native_hstore=False,
        ).execution_options(
            isolation_level="AUTOCOMMIT"
        )  # not of the dialect: it would be that of all engines
        create_schema(self.engine)
        for trigger in TRIGGERS[self.engine.dialect.name]:
            self._own.execute(trigger)
        for table in _TABLES:
            self._own.execute(sql.SQL(_BY_HAND).format(table))

    def backends(self) -> Sequence[Backend]:
        """All connections for simulated processes so far."""
        return self._backends

    def backend(self, number: int) -> Backend:
        """The connection of this number; the next number makes a new one."""
        if number == len(self._backends):
            self._backends.append(Backend(self._connect(), number))
        return self._backends[number]

    def empty(self) -> None:
        """Empty the tables. New files: where a row lies, and so the order of some answers, has no past."""
        self._own.execute(_EMPTY)

    def set_clock(self, microseconds: int) -> None:
        """Let the clock of all statements show this Unix time."""
        self._own.execute("SELECT setval('virtual_clock', %s)", [microseconds])

    def lock_waits(self, pids: Sequence[int]) -> dict[int, LockWait]:
        """Which of these processes of the server wait for a lock."""
        rows = self._own.execute(_LOCK_WAITS, [list(pids)]).fetchall()
        return {pid: LockWait(since, frozenset(blockers)) for pid, since, blockers in rows}

    def cancel(self, backend: Backend) -> None:
        """Cancel the statement of a connection, which waits for a lock."""
        self._own.execute("SELECT pg_cancel_backend(%s)", [backend.pid])
        while not backend.settle():
            pass

    def close(self) -> None:
        """Drop the schema and close all connections."""
        for backend in self._backends:
            backend.close()
        self.engine.dispose()
        with suppress(psycopg.Error):  # the server may have ended first
            drop_schema(self._own, self.schema)
        self._own.close()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._url, options=self._options, autocommit=True)


def drop_schema(connection: psycopg.Connection[Any], schema: str) -> None:
    """Drop a schema with all that is in it."""
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


@contextmanager
def database(url: str, schema: str) -> Iterator[RealDatabase]:
    """A `RealDatabase` for a `with` block."""
    made = RealDatabase(url, schema)
    try:
        yield made
    finally:
        made.close()
