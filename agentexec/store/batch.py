"""How a batch reaches the database: one JSON parameter that the statement reads as a relation.

The text of a statement never depends on the number of its rows, so the server plans it once. Rows are put in
order of their id, which keeps two batches from locking the same rows in opposite order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause, text


def run_batch(
    connection: Connection, sql: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> Sequence[Any]:
    """Run a statement over a batch. `:rows` becomes a relation with the named columns, `:now` the server's
    clock.
    """
    if not rows:
        return ()
    dialect = _postgres if connection.dialect.name == "postgresql" else _sqlite
    result = connection.execute(dialect(sql, tuple(columns.items())), {"batch": as_json(rows)})
    return result.all() if result.returns_rows else ()


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """A batch as the parameter of a statement, in order of the ids."""
    return json.dumps(sorted(rows, key=lambda row: str(row["id"])), separators=(",", ":"))


def recordset(parameter: str, columns: Mapping[str, str], alias: str) -> str:
    """The relation that Postgres reads from the JSON parameter `:parameter`."""
    shape = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"jsonb_to_recordset(CAST(:{parameter} AS jsonb)) AS {alias}({shape})"


@cache
def _postgres(sql: str, columns: tuple[tuple[str, str], ...]) -> TextClause:
    # clock_timestamp, since now() stands still for the whole transaction and progress entries may share one.
    return text(
        sql.replace(":rows AS v", recordset("batch", dict(columns), "v"))
        .replace(":now", "clock_timestamp()")
        .replace(":later", "clock_timestamp() + v.delay * interval '1 second'")
    )


@cache
def _sqlite(sql: str, columns: tuple[tuple[str, str], ...]) -> TextClause:
    # JSON columns stay text; SQLAlchemy's JSON type writes and reads exactly that.
    picked = ", ".join(
        f"value -> '$.{name}' AS {name}" if kind == "jsonb" else f"value ->> '$.{name}' AS {name}"
        for name, kind in columns
    )
    relation = f"(SELECT {picked} FROM json_each(:batch)) AS v"
    now = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
    later = "strftime('%Y-%m-%d %H:%M:%f000', 'now', v.delay || ' seconds')"
    # SQLite's RETURNING knows only the changed table, and no alias of it.
    body, returning, names = sql.partition("RETURNING")
    sql = body + returning + names.replace("a.", "")
    return text(sql.replace(":rows AS v", relation).replace(":now", now).replace(":later", later))


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
