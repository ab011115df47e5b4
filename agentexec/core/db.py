"""Engines for the activity store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import AssertionPool, QueuePool, SingletonThreadPool, StaticPool

from agentexec.config import normalised_database_url
from agentexec.core import postgres
from agentexec.core.forking import keep, no_fork, reset_in_child
from agentexec.errors import ConfigurationError, UnsupportedServer
from agentexec.masking import masked
from agentexec.text import first_line

if TYPE_CHECKING:
    from agentexec.store.models import Base

MINIMUM_POSTGRES = 14

__all__ = ["Base", "create_schema", "engine_for", "require_supported_database"]


def __getattr__(name: str) -> Any:
    """`Base`, under the import path of the production guide."""
    if name != "Base":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agentexec.store.models import Base

    return Base


def engine_for(
    source: str | Engine,
    *,
    pool_size: int = 2,
    test_connections: bool = True,
    name: str = "agentexec",
    timeout: float = 30.0,
    own: bool = False,
) -> Engine:
    """An engine with a small pool and tested connections; on SQLite, writers wait for the lock.

    `source` is a URL, or an engine of the application: then the new engine connects as that one does, through a pool
    of its own of the same kind. Connections have the application name `name`. A call that gets no answer within
    `timeout` seconds raises `OperationalError`. With `own`, no caller may hold a transaction open: the server ends one
    that is idle for so long. Raises `ConfigurationError` for a URL or an engine of another kind.
    """
    if isinstance(source, Engine):
        engine = _carried(source, timeout)
    elif (url := normalised_database_url(source)).startswith("sqlite"):
        in_memory = re.fullmatch(r"sqlite://(/(:memory:)?)?", url) is not None
        pool: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {}
        engine = create_engine(url, connect_args={"check_same_thread": False}, hide_parameters=True, **pool)
    else:
        with no_fork:
            engine = create_engine(
                url,
                isolation_level=postgres.READ_COMMITTED,
                connect_args=postgres.connect_arguments(make_url(url), name, timeout),
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=test_connections,
                pool_recycle=1800,
                hide_parameters=True,  # contexts and results are not for logs
            )
    if engine is source:
        return engine
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    else:
        postgres.prepare(engine, name=name, timeout=timeout, own=own)
    reset_in_child(engine, _leave_to_parent)
    return engine


def required_engine(engine: object) -> Engine:
    """Check that agentexec can use an engine of the application; raises `ConfigurationError` if not."""
    remedy = "pass one of create_engine('postgresql+psycopg://...'), or database_url"
    if not isinstance(engine, Engine):
        raise ConfigurationError(f"A {type(engine).__name__} is not an Engine of SQLAlchemy; {remedy}.")
    kind = f"{engine.dialect.name}+{engine.dialect.driver}"
    if engine.dialect.is_async or kind not in ("postgresql+psycopg", "sqlite+pysqlite"):
        raise ConfigurationError(f"The engine uses {kind}, which agentexec does not; {remedy}.")
    if engine.dialect.name == "postgresql" and isinstance(engine.pool, (StaticPool, AssertionPool)):
        raise ConfigurationError(
            f"The engine has a {type(engine.pool).__name__}, whose single connection several threads cannot share; "
            "leave poolclass out."
        )
    return engine


def url_of(engine: Engine) -> str:
    """The URL of an engine of the application, with its password."""
    return required_engine(engine).url.render_as_string(hide_password=False)


def _carried(engine: Engine, timeout: float) -> Engine:
    """An engine that connects as `engine` does, and has its listeners and options, with a pool of its own.

    A shared pool could be empty while its application waits for agentexec. SQLite in memory is the engine itself:
    there is no other way in.
    """
    required_engine(engine)
    sqlite = engine.dialect.name == "sqlite"
    if sqlite and isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
        return engine
    options = {} if sqlite else {"isolation_level": postgres.READ_COMMITTED}
    pool = engine.pool.recreate()
    if not sqlite:
        postgres.limit_connect(pool, timeout)
    own = Engine(
        pool,
        engine.dialect,
        engine.url,
        echo=engine.echo,
        execution_options={**engine.get_execution_options(), **options},
        hide_parameters=True,
    )
    own.dispatch = own.dispatch._join(engine.dispatch)
    own._has_events = True  # the application may add listeners later
    return own


def one_statement(engine: Engine) -> Engine:
    """The same engine for work of one statement: on Postgres, `begin()` commits with the statement, in one round trip.

    On other databases, `begin()` begins an ordinary transaction.
    """
    on_postgres = engine.dialect.name == "postgresql"
    return engine.execution_options(isolation_level="AUTOCOMMIT") if on_postgres else engine


class KeptConnection:
    """`one_statement` for one thread. It keeps a connection if the pool has others: to get one takes long."""

    def __init__(self, engine: Engine) -> None:
        pool = engine.pool if engine.dialect.name == "postgresql" else None
        self._keeps = isinstance(pool, QueuePool) and (pool.size() > 1 or pool._max_overflow != 0)
        self._engine = engine if self._keeps else one_statement(engine)  # its options are listeners
        self._connection: Connection | None = None
        reset_in_child(self, KeptConnection._leave_to_parent)

    def begin(self) -> AbstractContextManager[Connection]:
        """Begin a transaction. After an error, the next one asks the pool for a connection."""
        return self._begin() if self._keeps else self._engine.begin()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection = self._connection
        try:  # under AUTOCOMMIT, a transaction of SQLAlchemy is nothing but its listeners
            with connection.begin() if self._engine._has_events else nullcontext():
                yield connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _leave_to_parent(self) -> None:
        keep(self._connection)
        self._connection = None


def _leave_to_parent(engine: Engine) -> None:
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
    from agentexec.store.models import OWN_TABLES, Base

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


def _prepare_sqlite(engine: Engine) -> None:
    """The driver begins a transaction at the first write; here, a writer gets the lock before it reads."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=30000")
        if connection.execute("PRAGMA database_list").fetchone()[2]:  # it has a file
            connection.execute("PRAGMA journal_mode=WAL")

    if engine.dispatch.begin:  # the engine of an application that begins its transactions itself
        return

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
