"""The doctor's connection to Postgres: every statement is in a transaction READ ONLY with a time limit."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row
from sqlalchemy.engine import make_url

from harness.doctor.unanswered import CannotTell, NoAnswer
from harness.environments.base import WATCHING
from harness.errors import first_line

CONNECT_SECONDS = 2
STATEMENT_MS = 1000


def conninfo(url: str) -> str:
    """What libpq gets for a URL of `normalised_database_url`, as agentexec's engines do, several hosts included.

    Raises `NoAnswer` for a host that may be a part of the password, because messages about it would show that.
    """
    parsed = make_url(url)
    if "@" in (parsed.host or ""):
        raise NoAnswer("postgres", "the host has an @; write %40 for that of a user or a password")
    _, options = parsed.get_dialect()().create_connect_args(parsed)
    return make_conninfo(**options)


class PostgresReader:
    """Reads one database; `ended` stops a call that waits for a server which went silent."""

    def __init__(self, conninfo: str, *, within: float) -> None:
        """Connect; after `within` seconds the connection is shut down. Raises `NoAnswer`."""
        try:
            self.connection = psycopg.connect(
                conninfo,
                connect_timeout=CONNECT_SECONDS,
                application_name=WATCHING,
                client_encoding="utf8",  # text of a database in SQL_ASCII would be bytes
                prepare_threshold=None,  # a pooler in transaction mode
                row_factory=namedtuple_row,
            )
        except (psycopg.Error, ValueError, OSError) as error:
            raise NoAnswer("postgres", first_line(error)) from None
        self.connection.read_only = True
        self._limit = threading.Timer(within, self._shut_down)
        self._limit.daemon = True
        self._limit.start()

    def rows(self, statement: str, **values: object) -> list[Any]:
        """The rows of a statement; raises `CannotTell` if the role may not read that, or it takes too long."""
        try:
            with self.connection.transaction():
                self.connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_MS}")
                return self.connection.execute(statement.encode(), values).fetchall()
        except psycopg.errors.InsufficientPrivilege as error:
            raise CannotTell(f"the role may not read this ({first_line(error)})") from None
        except psycopg.errors.QueryCanceled:
            raise CannotTell(f"the statement took longer than {STATEMENT_MS:,} ms") from None
        except psycopg.Error as error:
            if self.connection.closed:
                raise NoAnswer("postgres", first_line(error)) from None
            raise CannotTell(f"the server refuses the question ({first_line(error)})") from None

    def row(self, statement: str, **values: object) -> Any:
        """The only row of a statement."""
        [found] = self.rows(statement, **values)
        return found

    def setting(self, name: str) -> str | None:
        """A setting as this session has it; None if this version has none of the name."""
        return (
            str(value) if (value := self.row("SELECT current_setting(%(n)s, true) AS v", n=name).v) else None
        )

    def clock_offset(self) -> float:
        """Seconds that the server's clock is ahead of this machine's, exact to half a round trip."""
        before = time.time()
        server = float(self.row("SELECT extract(epoch FROM clock_timestamp()) AS now").now)
        return server - (before + time.time()) / 2

    def close(self) -> None:
        """Close the connection."""
        self._limit.cancel()
        self.connection.close()

    def _shut_down(self) -> None:
        with suppress(OSError, psycopg.Error):
            with socket.socket(fileno=socket.dup(self.connection.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)
