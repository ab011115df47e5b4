"""Engines for the activity store."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from agentexec.config import normalised_database_url
from agentexec.core.forking import keep, no_fork
from agentexec.errors import ConfigurationError, UnsupportedServer
from agentexec.masking import masked
from agentexec.store.models import OWN_TABLES, Base
from agentexec.text import first_line

MINIMUM_POSTGRES = 14

__all__ = ["Base", "create_schema", "engine_for", "require_supported_database"]


def engine_for(database_url: str, *, pool_size: int = 2, test_connections: bool = True) -> Engine:
    """An engine with a small pool and tested connections; on SQLite, writers wait for the lock.

    Raises `ConfigurationError` for a URL of another kind of database.
    """
    url = normalised_database_url(database_url)
    if url.startswith("sqlite"):
        return _sqlite_engine(url)
    with no_fork:
        engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=test_connections,
            pool_recycle=1800,
            hide_parameters=True,  # contexts and results are not for logs
        )
    event.listen(engine, "connect", _look_for_a_pooler)
    return engine


def one_statement(engine: Engine) -> Engine:
    """The same engine for work of one statement: on Postgres, `begin()` commits with the statement, in one round trip.

    On other databases, `begin()` begins an ordinary transaction.
    """
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    return engine


def leave_to_parent(engine: Engine) -> None:
    """In a forked child: give the engine a new pool; the connections of the old one belong to the parent."""
    if isinstance(engine.pool, StaticPool):  # SQLite in memory: the child has a copy of its own
        return
    keep(engine.pool)
    engine.dispose(close=False)
    dispatch: Any = engine.pool.dispatch
    for listeners in (dispatch.first_connect, dispatch.connect):
        # A thread of the parent may hold this lock: it does during the first connect.
        if getattr(listeners, "_exec_once_mutex", None) is not None:
            listeners._exec_once_mutex = None


def create_schema(engine: Engine) -> None:
    """Create the missing tables and indexes. In production, migrations do that, with a user of their own."""
    Base.metadata.create_all(engine, tables=OWN_TABLES)


def require_supported_database(engine: Engine) -> None:
    """Check that the database answers and is supported.

    Raises `ConfigurationError` if it does not answer, `UnsupportedServer` for PostgreSQL below 14.
    """
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
                if version < MINIMUM_POSTGRES:
                    raise UnsupportedServer(
                        f"PostgreSQL {version} is too old: agentexec needs {MINIMUM_POSTGRES} or newer; "
                        "upgrade the server."
                    )
    except OperationalError as error:
        raise ConfigurationError(
            f"The database at {masked(str(engine.url))} does not answer ({first_line(error)}); "
            "check DATABASE_URL and the server."
        ) from None


def _look_for_a_pooler(connection: Any, _record: Any) -> None:
    """Switch off prepared statements behind a pooler such as PgBouncer in transaction mode.

    There, the next transaction may run on a server connection without these statements, or with those of another
    client under the same names. Behind a pooler, the process that answers is not the one named at the login.
    """
    answering = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()[0]
    connection.rollback()
    if answering != connection.info.backend_pid:
        connection.prepare_threshold = None


def _sqlite_engine(url: str) -> Engine:
    in_memory = re.fullmatch(r"sqlite://(/(:memory:)?)?", url) is not None
    options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {}
    engine = create_engine(
        url, connect_args={"check_same_thread": False, "timeout": 30}, hide_parameters=True, **options
    )

    # The driver begins a transaction at the first write. A writer must have the lock before it reads.
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        if not in_memory:
            connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
