"""Simulated Postgres: the store's statements on SQLite, one transaction at a time, on the virtual clock."""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, Engine, Executable, TextClause, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from agentexec.core.db import create_schema
from agentexec.store.dialects import run
from agentexec.store.models import OWN_TABLES
from harness.simulation.call_faults import LostCall, Network
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Process
from harness.simulation.store_probes import StoreProbes
from harness.simulation.triggers import TRIGGERS

# 1970-01-01 00:00 UTC; https://sqlite.org/lang_datefunc.html
JULIAN_DAY_OF_EPOCH = 2_440_587.5

# The runtime of the current simulation, for the functions that SQLite calls.
_clock: list[VirtualRuntime] = []


@cache
def _database() -> Engine:
    """One database for all simulations of this interpreter: creating a schema takes longer than a simulation."""
    # Without the explicit BEGIN of `engine_for`: in one thread the driver's own BEGIN is early enough and cheaper.
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _use_virtual_clock)
    create_schema(engine)
    with engine.begin() as connection:
        for trigger in TRIGGERS[engine.dialect.name]:
            connection.exec_driver_sql(trigger)
        # Twenty rows are found without an index, and each index is written with each row.
        named = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE INDEX %'"
        for (name,) in connection.exec_driver_sql(named).all():
            connection.exec_driver_sql(f"DROP INDEX {name}")
    return engine


def _use_virtual_clock(connection: Any, _record: Any) -> None:
    # Time stands still within a statement, so SQLite may call the function once for all of its rows.
    connection.create_function("strftime", -1, _strftime, deterministic=True)
    connection.create_function("julianday", 1, _julianday)
    connection.execute("PRAGMA secure_delete = OFF")  # Debian's SQLite overwrites what is deleted


def _strftime(form: str, _now: str, shift: str = "0 seconds") -> str:
    """SQLite's `strftime` on the virtual clock, for the one format that the store uses."""
    assert form == "%Y-%m-%d %H:%M:%f000"
    return _formatted(_clock[-1].unix(), shift)


@lru_cache(maxsize=256)
def _formatted(unix: float, shift: str) -> str:
    at = round((unix + float(shift.partition(" ")[0])) * 1000)
    return f"{_second(at // 1000)}.{at % 1000:03d}000"


@lru_cache(maxsize=256)
def _second(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _julianday(when: str | None) -> float | None:
    """SQLite's `julianday` of a time that the store wrote, or of `now` on the virtual clock."""
    if when is None:
        return None
    at = _clock[-1].unix() if when == "now" else datetime.fromisoformat(f"{when}+00:00").timestamp()
    return JULIAN_DAY_OF_EPOCH + at / 86_400


class StatementResult(NamedTuple):
    """The part of SQLAlchemy's `CursorResult` that agentexec uses."""

    rows: Sequence[Any]
    returns_rows: bool

    def all(self) -> Sequence[Any]:
        """All rows; their columns are attributes."""
        return self.rows


class SimulatedConnection:
    """The part of SQLAlchemy's `Connection` that agentexec uses, without SQLAlchemy, which takes longer than SQLite."""

    def __init__(self, core: Connection, probes: StoreProbes) -> None:
        self._core = core
        self._driver = cast(sqlite3.Connection, core.connection.driver_connection)
        self._probes = probes
        self.dialect = core.dialect

    def __enter__(self) -> Connection:
        """Begin a transaction."""
        return cast(Connection, self)

    def __exit__(self, *error: Any) -> None:
        """Commit, or roll back after an error."""
        self._driver.__exit__(*error)

    def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """Run a statement; raises what SQLAlchemy raises for an error of the driver.

        What SQLAlchemy composes, for services only, goes through it.
        """
        if not isinstance(statement, TextClause):
            return self._core.execute(statement)
        assert parameters is not None, "each text has parameters"
        try:
            cursor = self._driver.execute(statement.text, parameters)
            rows: Sequence[Any] = ()
            if cursor.description is not None:
                row = _row_of(next(zip(*cursor.description, strict=True)))
                rows = [*map(row._make, cursor.fetchall())]
            self._probes.after(self._driver, statement.text, parameters, rows)
            return StatementResult(rows, returns_rows=cursor.description is not None)
        except sqlite3.Error as error:
            raise DBAPIError.instance(statement.text, parameters, error, sqlite3.Error) from error


@cache
def _row_of(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", columns, rename=True)


class PostgresServer:
    """The server of all simulated processes; it can be unreachable for some time."""

    longest_wait = 0.0

    def __init__(self, runtime: VirtualRuntime, probes: StoreProbes | None = None) -> None:
        self._runtime = runtime
        self.probes = probes or StoreProbes(set(), set())
        self.away_until = 0
        self.engine = _database()
        self._open: list[SimulatedConnection] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve one simulation, which begins with empty tables."""
        _clock.append(self._runtime)
        try:
            with self.engine.connect() as connection:
                self._open.append(SimulatedConnection(connection, self.probes))
                with self.transaction() as emptied:
                    for table in reversed(OWN_TABLES):
                        run(emptied, f"DELETE FROM {table.name}")
                yield
        finally:
            self._open.clear()
            _clock.pop()

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction at one moment of virtual time. All of them share a connection."""
        return self._open[0]

    def engine_of(self, recorder: SimulatedRecorder, process: Process, network: Network) -> Engine:
        """The database as one process sees it."""
        return SimulatedDatabase(self, recorder, process, network)

    def go_away(self, seconds: float) -> None:
        """Refuse every transaction for this time."""
        self.away_until = max(self.away_until, self._runtime.scheduler.seconds(seconds))

    def require(self) -> None:
        """Raise what SQLAlchemy raises if the server is unreachable."""
        if self.away_until > self._runtime.scheduler.now:
            raise refusal("the server is away")


class SimulatedDatabase(Engine):
    """The database as one process sees it, with the part of an engine that agentexec uses.

    A transaction happens at one moment between its request, which may be lost or delayed, and its reply, which may be
    lost although the transaction is committed.
    """

    def __init__(
        self, server: PostgresServer, recorder: SimulatedRecorder, process: Process, network: Network
    ) -> None:
        self._recorder = recorder
        self._process = process
        self._server = server
        self._network = network
        self.dialect = server.engine.dialect
        self.url = server.engine.url

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction; raises `OperationalError` if the server is unreachable or a message is lost."""
        try:
            if self._network.request() is not None:
                raise LostCall
            self._server.require()
            committing = self._server.probes.committing
            committing.clear()
            with self._server.transaction() as connection:
                yield connection
            self._network.reply(*committing)
        except LostCall:
            self._recorder.trace_line(self._process, "gets no reply from Postgres")
            raise refusal("no reply came") from None

    connect = begin  # type: ignore[assignment]  # nothing of agentexec keeps one

    def execution_options(self, **_: Any) -> SimulatedDatabase:  # type: ignore[override]  # itself, as above
        """Ignored: there is only one connection."""
        return self

    def dispose(self, close: bool = True) -> None:
        """Do nothing: the connection is shared."""


def refusal(why: str) -> OperationalError:
    """The exception that SQLAlchemy raises for a broken connection."""
    return OperationalError(
        "", None, sqlite3.OperationalError(f"simulated: {why}"), connection_invalidated=True
    )
