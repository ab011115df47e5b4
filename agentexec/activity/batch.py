"""How a batch reaches the database: one JSON parameter that the statement reads as a relation.

The text of a statement never depends on the number of its rows, so the server plans it once. Rows are put in
order of their id, which keeps two batches from locking the same rows in opposite order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text


def run_batch(
    connection: Connection, sql: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> Sequence[Any]:
    """Run a statement over a batch. `:rows` becomes a relation with the named columns, `:now` the server's
    clock.
    """
    if not rows:
        return ()
    postgres = connection.dialect.name == "postgresql"
    dialect = _postgres if postgres else _sqlite
    statement = dialect(sql, columns)
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    result = connection.execute(text(statement), {"batch": json.dumps(ordered, separators=(",", ":"))})
    return result.all() if result.returns_rows else ()


def _postgres(sql: str, columns: Mapping[str, str]) -> str:
    # clock_timestamp, since now() stands still for the whole transaction and progress entries may share one.
    shape = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    relation = f"jsonb_to_recordset(CAST(:batch AS jsonb)) AS v({shape})"
    return (
        sql.replace(":rows AS v", relation)
        .replace(":now", "clock_timestamp()")
        .replace(":later", "clock_timestamp() + v.delay * interval '1 second'")
    )


def _sqlite(sql: str, columns: Mapping[str, str]) -> str:
    # JSON columns stay text; SQLAlchemy's JSON type writes and reads exactly that.
    picked = ", ".join(
        f"value -> '$.{name}' AS {name}" if kind == "jsonb" else f"value ->> '$.{name}' AS {name}"
        for name, kind in columns.items()
    )
    relation = f"(SELECT {picked} FROM json_each(:batch)) AS v"
    now = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
    later = "strftime('%Y-%m-%d %H:%M:%f000', 'now', v.delay || ' seconds')"
    # SQLite's RETURNING knows only the changed table, and no alias of it.
    body, returning, names = sql.partition("RETURNING")
    sql = body + returning + names.replace("a.", "")
    return sql.replace(":rows AS v", relation).replace(":now", now).replace(":later", later)


def as_text(value: UUID) -> str:
    """An id inside a batch: Postgres reads it as a UUID, and SQLite keeps it as SQLAlchemy's Uuid type
    does.
    """
    return value.hex


def as_uuid(value: Any) -> UUID:
    """An id as a driver returns it: Postgres gives a UUID, SQLite its hexadecimal text."""
    return value if isinstance(value, UUID) else UUID(str(value))


def as_key(connection: Connection, value: UUID) -> UUID | str:
    """An id as a driver wants it for a comparison."""
    return value if connection.dialect.name == "postgresql" else value.hex
