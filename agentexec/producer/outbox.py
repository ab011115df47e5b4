"""Record a task in a transaction of the caller; the outbox dispatcher of a pool dispatches it after the commit."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from agentexec.errors import ConfigurationError, require
from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.rows import NewActivity
from agentexec.store.statements import record_enqueued

UNDEFINED_TABLE, INSUFFICIENT_PRIVILEGE = "42P01", "42501"  # SQLSTATE


def connection_of(session: Any) -> Connection:
    """The connection of the caller's transaction; raises `WrongArgument` for anything else than a session."""
    from sqlalchemy.orm import Session, scoped_session  # a session of the caller has imported it

    from agentexec.store.models import Activity

    if isinstance(session, scoped_session):
        session = session()
    if isinstance(session, Session):
        return session.connection(bind_arguments={"mapper": Activity})
    remedy = "pass the one whose transaction the task belongs to"
    if hasattr(session, "run_sync"):
        remedy = "write await session.run_sync(agentexec.enqueue_in, name, context)"
    require(session, Connection, "enqueue_in takes a Session or a Connection first", remedy)
    return session  # type: ignore[no-any-return]  # `require` says so


def record_in(connection: Connection, activity: NewActivity) -> UUID:
    """Record an activity; returns its id, or that of an earlier one with its idempotency key.

    Raises `ConfigurationError` if agentexec's tables are not in this database or its role may not write them.
    """
    database = connection.dialect.name
    if database not in ("postgresql", "sqlite"):
        raise ConfigurationError(
            f"This session leads to {database}, and agentexec keeps its activities in PostgreSQL or SQLite; "
            "pass a session of the database in DATABASE_URL."
        )
    try:
        return record_enqueued(connection, [activity])[activity.id]
    except DBAPIError as error:
        sqlstate = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if sqlstate == UNDEFINED_TABLE or f"no such table: {ACTIVITY_TABLE}" in str(error.orig):
            raise ConfigurationError(
                f"There is no table {ACTIVITY_TABLE} where this session looks for it; pass a session of the database "
                "in DATABASE_URL, or make the tables with `agentexec db upgrade`."
            ) from None
        if sqlstate == INSUFFICIENT_PRIVILEGE:
            raise ConfigurationError(
                f"The role of this session may not write {ACTIVITY_TABLE} and its log; grant it SELECT and INSERT "
                "on both."
            ) from None
        raise
