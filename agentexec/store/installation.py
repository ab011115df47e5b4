"""The name of an activity store, by which queues tell apart installations that share a Redis."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from agentexec.store.dialects import ACTIVITY_TABLE

# A replica and a promoted standby have the identifier of their primary.
_POSTGRES = """SELECT concat_ws('/', s.system_identifier, current_database(), coalesce(
        (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(:table)), current_schema()))
    FROM pg_control_system() AS s"""


def store_name(engine: Engine) -> str | None:
    """A name that all users of an activity store agree on; None if it has none.

    Raises `OperationalError` if the database does not answer.
    """
    if engine.dialect.name != "postgresql":
        path = engine.url.database
        return f"{Path(path).resolve()}/{ACTIVITY_TABLE}" if path and ":memory:" not in path else None
    try:
        with engine.connect() as connection:
            name = connection.execute(text(_POSTGRES), {"table": ACTIVITY_TABLE}).scalar_one()
    except DBAPIError as error:
        # The right may be revoked, and some services do not have the function.
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None:
            raise
        return None
    return f"{name}/{ACTIVITY_TABLE}"
