"""Postgres in a simulation: the store's own statements on SQLite, one transaction at a time, on the virtual clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from agentexec.core.db import create_schema
from agentexec.store.models import ACTIVITY_TABLE, LOG_TABLE
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process
from harness.simulation.trouble import LostCall, Network
from harness.simulation.world import VirtualRuntime

JULIAN_DAY_OF_EPOCH = 2_440_587.5  # 1970-01-01 00:00 UTC, as SQLite's manual of its date functions has it

_clock: list[VirtualRuntime] = []  # of the simulation that runs; SQLite's functions know no other way to it


@cache
def _database() -> Engine:
    """One database for all simulations of this interpreter: to create its schema takes longer than to use it."""
    # Without the explicit BEGIN of `engine_for`: with one thread, the driver's own comes early enough, and is cheaper.
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _tell_the_time)
    create_schema(engine)
    return engine


def _tell_the_time(connection: Any, _record: Any) -> None:
    connection.create_function("strftime", -1, _strftime)
    connection.create_function("julianday", 1, _julianday)


def _strftime(form: str, _now: str, shift: str = "0 seconds") -> str:
    """SQLite's `strftime` as the store uses it, by the virtual clock."""
    assert form == "%Y-%m-%d %H:%M:%f000"
    at = round((_clock[-1].unix() + float(shift.partition(" ")[0])) * 1000)
    return f"{_second(at // 1000)}.{at % 1000:03d}000"


@lru_cache(maxsize=256)
def _second(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _julianday(when: str | None) -> float | None:
    """SQLite's `julianday` of a time that the store wrote, or of `now` by the virtual clock."""
    if when is None:
        return None
    at = _clock[-1].unix() if when == "now" else datetime.fromisoformat(f"{when}+00:00").timestamp()
    return JULIAN_DAY_OF_EPOCH + at / 86_400


class PostgresServer:
    """One server for all simulated processes; it may be away."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self._runtime = runtime
        self.away_until = 0
        self.engine = _database()
        self._open: list[Connection] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve one simulation, beginning with empty tables."""
        _clock.append(self._runtime)
        try:
            with self.engine.connect() as connection:
                self._open.append(connection)
                with self.transaction():
                    connection.execute(text(f"DELETE FROM {LOG_TABLE}"))
                    connection.execute(text(f"DELETE FROM {ACTIVITY_TABLE}"))
                yield
        finally:
            self._open.clear()
            _clock.pop()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, which happens at one moment. They all share a connection: to take one from a pool each
        time costs more than what is done with it.
        """
        (connection,) = self._open
        with connection.begin():
            yield connection

    def go_away(self, seconds: float) -> None:
        """Refuse everybody for so long."""
        self.away_until = max(self.away_until, self._runtime.scheduler.seconds(seconds))

    def require(self) -> None:
        """Raises what SQLAlchemy raises where the server is away."""
        if self.away_until > self._runtime.scheduler.now:
            raise refusal("the server is away")


class SimulatedDatabase:
    """The database as one process sees it. A transaction happens at one moment: between its request, which may be lost
    or stand still on the way, and its reply, which may be lost although everything is committed.
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

    @classmethod
    def as_engine(
        cls, server: PostgresServer, recorder: SimulatedRecorder, process: Process, network: Network
    ) -> Engine:
        """One of these where an engine is asked for: of an engine, agentexec uses what is here."""
        return cast(Engine, cls(server, recorder, process, network))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction; see the class."""
        try:
            if self._network.request() is not None:
                raise LostCall
            self._server.require()
            with self._server.transaction() as connection:
                yield connection
            self._network.reply()
        except LostCall:
            self._recorder.tell(self._process, "gets no reply from Postgres")
            raise refusal("no reply came") from None

    connect = begin

    def execution_options(self, **_: Any) -> SimulatedDatabase:
        """Nothing to choose."""
        return self

    def dispose(self) -> None:
        """Nothing to let go of."""


def refusal(why: str) -> OperationalError:
    """A broken connection, as SQLAlchemy tells of it."""
    return OperationalError(
        "", None, sqlite3.OperationalError(f"simulated: {why}"), connection_invalidated=True
    )
