"""What the activity store needs of its database: the tables with their columns, and rights of the role."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Row, text

from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE, is_postgres

# The rights that producers, pools and the API use. Retention also deletes, and writes the archives.
RIGHTS = {ACTIVITY_TABLE: ("SELECT", "INSERT", "UPDATE"), LOG_TABLE: ("SELECT", "INSERT")}

# The catalog only: no lock on the tables, so a migration delays no check.
_POSTGRES = """SELECT v.name, current_user AS role, current_setting('transaction_read_only') AS read_only,
        ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped) AS columns,
        ARRAY(SELECT r FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS r
            WHERE has_any_column_privilege(c.oid, r)) AS rights
    FROM unnest(CAST(:names AS text[])) AS v(name)
    LEFT JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(v.name))"""
_UPGRADE = "run `agentexec db upgrade` with the role that owns the tables"


def unmet(connection: Connection) -> list[str]:
    """One sentence with the remedy for each requirement that the database does not meet."""
    if is_postgres(connection):
        found = connection.execute(text(_POSTGRES), {"names": list(RIGHTS)}).all()
        problems = [problem for row in found for problem in _of_postgres(row)]
        read_only = found[0].read_only == "on"
        return problems + ["the database is read-only; connect to the primary"] * read_only
    query = text("SELECT name FROM pragma_table_info(:name)")
    return [
        problem
        for name in RIGHTS
        for problem in _of_table(name, connection.execute(query, {"name": name}).scalars().all())
    ]


def _of_postgres(row: Row[Any]) -> Iterator[str]:
    yield from _of_table(row.name, row.columns)
    missing = [right for right in RIGHTS[row.name] if right not in row.rights]
    if row.columns and missing:
        yield f"the role lacks rights; GRANT {', '.join(missing)} ON {row.name} TO {row.role}"


def _of_table(name: str, columns: Collection[str]) -> Iterator[str]:
    from agentexec.store.models import metadata

    missing = [column.name for column in metadata.tables[name].columns if column.name not in columns]
    if not columns:
        yield f"there is no table {name} that the role can see; {_UPGRADE}, and GRANT USAGE ON its SCHEMA to the role"
    elif missing:
        yield f"the table {name} lacks {', '.join(missing)}; {_UPGRADE}"
