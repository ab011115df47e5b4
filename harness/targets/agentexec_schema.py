"""The tables of agentexec in a database of the user: the ones that a run created are dropped at its end.

A table that a run creates has a comment, which marks it. Each run has a shared advisory lock, so that only the last
of several runs on a database drops the tables. Tables that existed before, and tables with rows, stay.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import URL, Connection, NullPool, Table, create_engine, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from agentexec.core.db import Base
from agentexec.store.models import OWN_TABLES
from harness.environments.base import WATCHING

MARK = "created by agentexec-harness for its runs, which drop it once it is empty"

# Keys of Postgres's advisory locks: runs that use the tables, and the one that creates or drops them.
_USERS, _CHANGE = 0x6861726E657373, 0x6861726E657374
_WAIT_SECONDS = 10


class TemporarySchema:
    """The tables for one run; `drop` may be called after a failed `create`, and when no client uses them any more."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"connect_timeout": _WAIT_SECONDS, "application_name": WATCHING},
        )
        self._user: Connection | None = None

    def create(self) -> None:
        """Create the missing tables, and mark them; raises `SQLAlchemyError`."""
        self._user = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._user.execute(select(func.pg_advisory_lock_shared(_USERS)))
        with self._engine.begin() as connection:
            _lock_changes(connection)
            existing = set(inspect(connection).get_table_names())
            missing = [table for table in OWN_TABLES if table.name not in existing]
            Base.metadata.create_all(connection, tables=missing)
            for table in missing:
                connection.execute(text(f"COMMENT ON TABLE {_quoted(connection, table)} IS '{MARK}'"))

    def drop(self) -> None:
        """Drop the marked tables if they are empty and no other run uses them; raises `SQLAlchemyError`."""
        if self._user is not None:
            with suppress(SQLAlchemyError):  # a fault ended the connection, and the lock with it
                self._user.close()
            self._user = None
        with self._engine.begin() as connection:
            _lock_changes(connection)
            if not connection.execute(select(func.pg_try_advisory_xact_lock(_USERS))).scalar():
                return
            marked = [table for table in OWN_TABLES if _is_marked(connection, table)]
            if not any(connection.execute(select(table).limit(1)).first() for table in marked):
                Base.metadata.drop_all(connection, tables=marked)


def _lock_changes(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'"))
    connection.execute(select(func.pg_advisory_xact_lock(_CHANGE)))


def _is_marked(connection: Connection, table: Table) -> bool:
    name = func.to_regclass(_quoted(connection, table))
    return bool(connection.execute(select(func.obj_description(name, "pg_class"))).scalar() == MARK)


def _quoted(connection: Connection, table: Table) -> str:
    return connection.dialect.identifier_preparer.format_table(table)
