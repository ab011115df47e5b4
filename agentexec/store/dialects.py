"""Statements as templates: what Postgres and SQLite write differently, and a batch as one JSON parameter.

The fields of a template are the words below, and `{rows}`: the batch as a relation, for use as `{rows} AS v`. The
text of a statement does not depend on the number of its rows, so the server plans it once.

A statement locks the activities that it changes in the order of their ids, before it changes any (`{locked_ids}`): the
plan may visit them in any order. So no two statements wait for each other, whatever rows they share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import Connection, Row, TextClause, make_url, text

from agentexec.config import table_prefix
from agentexec.store.status import PENDING, Status, sql_in

Batch = Sequence[Mapping[str, Any]]
T = TypeVar("T")

_listeners = attrgetter("before_execute", "before_cursor_execute", "after_cursor_execute", "after_execute")

PREFIX = table_prefix()
ACTIVITY_TABLE = f"{PREFIX}activity"
LOG_TABLE = f"{PREFIX}activity_log"

STATEMENT_BYTES = 32 * 1024 * 1024  # of JSON in one statement; a longer row has a statement of its own

# The columns of batches that are not text.
_KINDS = {
    "id": "uuid",
    "token": "bigint",
    "n": "int",
    "priority": "smallint",
    "percentage": "smallint",
    "delay": "float8",
    "failed": "boolean",
    "context": "jsonb",
    "metadata": "jsonb",
    "result": "jsonb",
}
_JSON = [name for name, kind in _KINDS.items() if kind == "jsonb"]
_COMMON = {
    "activity": ACTIVITY_TABLE,
    "log": LOG_TABLE,
    "pending": sql_in(PENDING),
    "running": sql_in({Status.RUNNING}),
    # The number of the next log entry under the activity's token.
    "next_n": f"(SELECT coalesce(max(n), -1) + 1 FROM {LOG_TABLE} WHERE activity_id = a.id AND fence = a.fence)",
}
_GIVEN = f"SELECT id FROM {ACTIVITY_TABLE} WHERE id = ANY(CAST(:ids AS uuid[]))"
LOCKED = f"{_GIVEN} ORDER BY id FOR NO KEY UPDATE"
# A canceled activity is waited for: nothing else would mark it (`mark_dispatched`).
_FREE = f"""SELECT id FROM ({_GIVEN} AND status = 'canceled' ORDER BY id FOR NO KEY UPDATE) AS canceled
    UNION ALL SELECT id FROM ({LOCKED} SKIP LOCKED) AS free"""
_POSTGRES = _COMMON | {
    # now() is the same for a whole transaction, and the entries of one transaction differ in time.
    "now": "clock_timestamp()",
    "later": "clock_timestamp() + v.delay * interval '1 second'",
    "ago": "clock_timestamp() - :seconds * interval '1 second'",
    "seconds_left": "extract(epoch FROM run_after - clock_timestamp())",
    "seconds_old": "extract(epoch FROM clock_timestamp() - created_at)",
    "in_ids": "= ANY(CAST(:ids AS uuid[]))",
    "locked_ids": f"= ANY(ARRAY({LOCKED}))",
    "free_ids": f"= ANY(ARRAY({_FREE}))",
    "share_lock": "ORDER BY a.id, v.n FOR SHARE OF a",
    "without_fsync": "set_config('synchronous_commit', 'off', true)",
}
_IN_IDS = "IN (SELECT value FROM json_each(:ids))"
_SQLITE = _COMMON | {
    "now": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "later": "strftime('%Y-%m-%d %H:%M:%f000', 'now', v.delay || ' seconds')",
    "ago": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || :seconds || ' seconds')",
    "seconds_left": "(julianday(run_after) - julianday('now')) * 86400",
    "seconds_old": "(julianday('now') - julianday(created_at)) * 86400",
    "in_ids": _IN_IDS,
    "locked_ids": _IN_IDS,
    "free_ids": _IN_IDS,
    "share_lock": "",
    "without_fsync": "1",
}


def is_postgres(connection: Connection) -> bool:
    """Whether the connection leads to Postgres; otherwise it leads to SQLite."""
    return connection.dialect.name == "postgresql"


def render(template: str, *, postgres: bool, **words: str) -> str:
    """The text of a statement for one of the databases; `words` are further fields of the template."""
    return template.format_map((_POSTGRES if postgres else _SQLITE) | words)


def run(
    connection: Connection,
    template: str,
    *,
    rows: Batch | None = None,
    ids: Collection[UUID] | None = None,
    **parameters: Any,
) -> Sequence[Row[Any]]:
    """Run a statement and return its rows. `rows` is the relation `{rows}`, `ids` those of `{in_ids}` and the like.

    A statement on a batch or on ids that are empty does not reach the server.
    """
    if (rows is not None and not rows) or (ids is not None and not ids):
        return ()
    postgres = is_postgres(connection)
    shape = relation("batch", tuple(rows[0]), postgres=postgres) if rows else ""
    if rows:
        parameters["batch"] = as_json(rows)
    if ids:
        texts = sorted(i.hex for i in ids)
        parameters["ids"] = f"{{{','.join(texts)}}}" if postgres else as_json(texts)
    statement, sql = _statement(template, postgres, shape)
    psycopg = postgres and connection.dialect.driver == "psycopg" and not connection.dialect.is_async
    watched = psycopg and (connection._echo or any(_listeners(connection.dispatch)))
    driver = connection.connection.dbapi_connection if psycopg and not watched else None
    if driver is None or not (driver.autocommit or connection.in_transaction()):
        result = connection.execute(statement, parameters)
        return result.all() if result.returns_rows else ()
    from psycopg.rows import namedtuple_row  # only where it is installed

    # Where psycopg begins no transaction by itself, psycopg alone: SQLAlchemy takes longer. Errors are the same.
    try:
        cursor = driver.cursor(row_factory=namedtuple_row).execute(sql, parameters)
        return cursor.fetchall() if cursor.description else ()
    except BaseException as error:  # noqa: BLE001 - this raises what SQLAlchemy would
        connection._handle_dbapi_exception(error, sql, parameters, None, None)


@cache
def _statement(template: str, postgres: bool, rows: str) -> tuple[TextClause, str]:
    """A statement for SQLAlchemy, and as text for psycopg."""
    statement = text(render(template, postgres=postgres, rows=rows))
    return statement, str(statement.compile(dialect=make_url("postgresql+psycopg://").get_dialect()()))


def as_uuid(value: Any) -> UUID:
    """An id from a row: Postgres returns a UUID, SQLite its hexadecimal text."""
    return value if isinstance(value, UUID) else UUID(value)


@cache
def relation(parameter: str, columns: tuple[str, ...], *, postgres: bool, alone: bool = False) -> str:
    """The batch in the JSON parameter `:parameter` as a relation; a row `alone` is in `as_parameters`."""
    kinds = {name: _KINDS.get(name, "text") for name in columns}
    if alone:  # which Postgres plans and runs in less time
        values = ", ".join(f"CAST(:{parameter}_{name} AS {kind}) AS {name}" for name, kind in kinds.items())
        return f"(SELECT {values})"
    if postgres:
        shape = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        return f"(SELECT * FROM jsonb_to_recordset(CAST(:{parameter} AS jsonb)) AS batch({shape}))"
    # JSON columns stay text, which is what SQLAlchemy's JSON type writes and reads.
    picked = ", ".join(
        f"value {'->' if kind == 'jsonb' else '->>'} '$.{name}' AS {name}" for name, kind in kinds.items()
    )
    return f"(SELECT {picked} FROM json_each(:{parameter}))"


def as_parameters(key: str, rows: Batch) -> dict[str, Any]:
    """A batch as parameters of Postgres: a row alone as one for each value, all of them text."""
    if len(rows) != 1:
        return {key: as_json(rows)} if rows else {}
    return {f"{key}_{c}": v if v is None else (as_json if c in _JSON else str)(v) for c, v in rows[0].items()}


def as_json(value: Any) -> str:
    """A batch, or a value of a column, as the parameter of a statement."""
    return to_json(value).decode()


def parts(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Split a batch into parts of at most `STATEMENT_BYTES`, in order; `size` is in bytes.

    A part has at least one item. The usual batch is one part.
    """
    first = total = 0
    for i, item in enumerate(items):
        length = size(item)
        if i > first and total + length > STATEMENT_BYTES:
            yield items[first:i]
            first, total = i, 0
        total += length
    if items:
        yield items[first:]
