"""Connections to Postgres in unusual states: silent servers, failovers, poolers, and defaults of the server."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Dialect, Engine, ExceptionContext, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from agentexec.core import runtime

READ_COMMITTED = "READ COMMITTED"
READ_ONLY = "25006"
OWN = "agentexec"  # the execution option of an engine that `prepare` has prepared
# The server was demoted, or is shutting down or starting up: another connection may lead to another server.
FAILOVER_SQLSTATES = (READ_ONLY, "57P01", "57P02", "57P03")
# Serialization failure, deadlock, lock not available: the same transaction may succeed now.
CONTENTION_SQLSTATES = ("40001", "40P01", "55P03")
PATIENCE_SECONDS = 5.0  # how long a call of an application is repeated after contention or a failover
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds; each pause is twice as long as the one before
LONGEST_CONNECT = 60.0  # seconds for a new connection, and for a host that does not acknowledge what was sent
CANCEL_WITHIN = 1.0  # seconds that a silent server has to take the request to cancel its statement

T = TypeVar("T")

_limits = threading.local()


def sqlstate_of(error: DBAPIError) -> str | None:
    """The server's code for an error; None if the server was not reached or is no Postgres."""
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    return sqlstate


def timed_out(error: Exception) -> bool:
    """Whether the server was silent for the whole time limit of a connection or a statement."""
    return isinstance(error, DBAPIError) and type(error.orig).__name__ == "ConnectionTimeout"


def patiently(attempt: Callable[[], T]) -> T:
    """Repeat an attempt after contention and failovers for `PATIENCE_SECONDS`, after a broken connection once."""
    end, pause, broken = runtime.current().monotonic() + PATIENCE_SECONDS, FIRST_PAUSE, 0
    while True:
        try:
            return attempt()
        except DBAPIError as error:
            known = sqlstate_of(error) in (*CONTENTION_SQLSTATES, *FAILOVER_SQLSTATES)
            broken += error.connection_invalidated and not known
            again = known or (error.connection_invalidated and broken == 1)
            if not again or runtime.current().monotonic() + pause > end:
                raise
        runtime.current().sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


def connect_arguments(url: URL, name: str, timeout: float) -> dict[str, object]:
    """Arguments of libpq that end the wait for a silent server; what the URL or the environment sets is left out."""
    # These find a host that is gone. One that lives may be silent for longer; the kernel takes no more than 32,767 s.
    whole = max(1, round(min(timeout, LONGEST_CONNECT)))
    wanted: dict[str, object] = {
        "fallback_application_name": name,
        "connect_timeout": max(2, whole),  # libpq does not take less
        "tcp_user_timeout": whole * 1000,
        "keepalives_idle": whole,
        "keepalives_interval": max(1, whole // 3),
        "keepalives_count": 3,
    }
    if "PGCONNECT_TIMEOUT" in os.environ:
        del wanted["connect_timeout"]
    return {key: value for key, value in wanted.items() if key not in url.query}


@contextlib.contextmanager
def answer_within(seconds: float) -> Iterator[None]:
    """Limit all waits for Postgres in a `with` block of this thread to this time together.

    Where a new connection is necessary, it takes up to 2 s more: libpq has no shorter time-out.
    """
    before = getattr(_limits, "end", math.inf)
    _limits.end = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _limits.end = before


def _remaining() -> float:
    return float(getattr(_limits, "end", math.inf)) - time.monotonic()


def limit_connect(pool: Any, timeout: float) -> None:
    """Limit the time of new connections of a pool that another engine's `create_engine` made."""
    connect = pool._invoke_creator

    def connect_in_time(record: Any) -> Any:
        with answer_within(min(timeout, LONGEST_CONNECT)):
            return connect(record)

    pool._creator = connect_in_time


def prepare(engine: Engine, *, name: str, timeout: float, own: bool) -> None:
    """Make every connection of an engine of psycopg ready for unusual states; call it before the first connection.

    A statement that the server leaves without an answer for `timeout` seconds raises `OperationalError`.
    """
    reference = weakref.ref(engine)  # no cycle: the connections of a dropped engine are closed at once
    # An engine that connects as another one does shares its dialect, where each function is registered once.
    event.listen(engine.dialect, "do_connect", _shorten_connect)
    event.listen(engine, "connect", partial(_limit_waits, timeout))
    event.listen(engine, "connect", partial(_connected, reference, name, round(1000 * timeout) if own else 0))
    event.listen(engine.dialect, "handle_error", _drop_after_failover)
    engine.update_execution_options(**{OWN: True})


def _shorten_connect(_dialect: Dialect, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
    left = _remaining()
    if left < math.inf:
        usual = float(options.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or left)
        options["connect_timeout"] = max(2, math.ceil(min(left, usual)))


def _connected(engine: weakref.ref[Engine], name: str, idle: int, connection: Any, _record: Any) -> None:
    autocommit, connection.autocommit = connection.autocommit, False
    # A session's default also holds under AUTOCOMMIT, outside of a transaction block. What is acknowledged survives a
    # crash: a commit waits until it is flushed. A client that is gone with its host does not keep its locks.
    query = (
        "SELECT pg_backend_pid(), current_setting('default_transaction_isolation'),"
        " set_config('default_transaction_isolation', 'read committed', false),"
        " set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false),"
        " set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false)"
    ) + (f", set_config('idle_in_transaction_session_timeout', '{idle}', false)" if idle else "")
    answering, default, *_ = connection.execute(query, prepare=False).fetchone()
    if answering == connection.info.backend_pid:
        if not connection.info.parameter_status("application_name"):
            connection.execute("SELECT set_config('application_name', %s, false)", [name], prepare=False)
        connection.commit()
    else:
        # Behind a pooler such as PgBouncer in transaction mode, another process answers than at the login. The next
        # transaction may run on another session: without these statements and settings, or with those of others.
        connection.rollback()
        connection.prepare_threshold = None
        owner = engine()
        if default.upper() != READ_COMMITTED and not event.contains(owner, "begin", _begin_explicitly):
            event.listen(owner, "begin", _begin_explicitly)
    connection.autocommit = autocommit


def _begin_explicitly(connection: Connection) -> None:
    """Begin a transaction block also under AUTOCOMMIT, since only its BEGIN can name the isolation level."""
    connection.dialect.set_isolation_level(connection.connection.dbapi_connection, READ_COMMITTED)  # type: ignore[arg-type]  # it is connected


def _drop_after_failover(context: ExceptionContext) -> None:
    """Drop all connections of the pool after an error of a demoted server, so that the next ones are new."""
    # The listener belongs to the dialect, which an engine of the application may share.
    own = context.engine is not None and OWN in context.engine.get_execution_options()
    if own and getattr(context.original_exception, "sqlstate", None) in FAILOVER_SQLSTATES:
        context.is_disconnect = True


def _limit_waits(timeout: float, connection: Any, _record: Any) -> None:
    """Close a connection whose server sends nothing for `timeout` seconds during one call.

    TCP does not notice a server that is stopped, nor a proxy that swallows data: both acknowledge what arrives.
    """
    reference = weakref.proxy(connection)  # no cycle, again
    wait = partial(type(connection).wait, reference)

    def limited(generator: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        try:
            wanted = next(generator)
        except StopIteration as end:  # as most do, such as a change of autocommit
            at_once: T = end.value
            return at_once
        result: T = wait(_limited(generator, wanted, reference, timeout), *args, **options)
        return result

    connection.wait = limited


def _limited(
    generator: Generator[Any, Any, T], wanted: Any, connection: Any, timeout: float
) -> Generator[Any, Any, T]:
    """The rest of a generator of psycopg that waits for `wanted`; it is resumed with 0 every 0.1 s of silence."""
    timeout = max(0.0, min(timeout, _remaining()))
    heard = time.monotonic()
    try:
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() > heard + timeout:
                _give_up(connection, timeout)
            wanted = generator.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def _give_up(connection: Any, timeout: float) -> NoReturn:
    import psycopg

    # A statement that waits for a lock must not go on without its client. An older libpq would block here.
    if psycopg.capabilities.has_cancel_safe():
        with contextlib.suppress(psycopg.Error):
            connection.cancel_safe(timeout=CANCEL_WITHIN)
    connection.close()
    raise psycopg.errors.ConnectionTimeout(f"no answer within {timeout:g} s; the connection was closed")
