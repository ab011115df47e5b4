"""Migrations of the schema, and comparison of a database with the models.

Needs Alembic (the extra `migrations`), which is imported only by a call of these functions: a pool does not need it,
and its role needs no right to change tables. All names, also that of the version table, follow
`AGENTEXEC_TABLE_PREFIX`, so a database may hold several installations and an application's own Alembic.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Constraint, Engine, Index, MetaData, inspect, text
from sqlalchemy.exc import DBAPIError

from agentexec.errors import ConfigurationError
from agentexec.store.dialects import ACTIVITY_TABLE, PREFIX
from agentexec.store.models import OWN_TABLES
from agentexec.text import first_line

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["VERSION_TABLE", "differences", "include_name", "include_object", "revision", "upgrade"]

VERSION_TABLE = f"{PREFIX}alembic_version"
INSUFFICIENT_PRIVILEGE = "42501"  # SQLSTATE


def upgrade(engine: Engine) -> list[str]:
    """Bring a database to the newest revision; returns the applied revisions, oldest first.

    Tables of `create_schema` that agree with the models are adopted. On Postgres concurrent calls run one after the
    other. Raises `ConfigurationError` if Alembic is missing, the role may not change tables, or there are tables
    that no revision created.
    """
    try:
        with _transaction(engine) as connection:
            return _upgrade(connection)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        raise ConfigurationError(
            f"This role may not change tables ({first_line(error)}). Run migrations with the role that owns the "
            "schema: since PostgreSQL 15 it needs `GRANT USAGE, CREATE ON SCHEMA public TO agentexec_migrate`."
        ) from None


def include_name(name: str | None, type_: str, parent_names: Mapping[Any, str | None]) -> bool:
    """Alembic's `include_name` for an application's own env.py: False for agentexec's tables and what belongs to them.

    Autogenerate then does not drop them. If the application's metadata has them too, `include_object` is needed as
    well, or autogenerate creates them.
    """
    return not _owns(name if type_ == "table" else parent_names.get("table_name"))


def include_object(item: Any, _name: str | None, type_: str, *_others: object) -> bool:
    """Alembic's `include_object` for an application's own env.py: False for agentexec's tables and their parts."""
    table = item if type_ == "table" else getattr(item, "table", None)
    return not _owns(getattr(table, "name", None))


def _owns(table: str | None) -> bool:
    return table == VERSION_TABLE or any(table == known.name for known in OWN_TABLES)


def differences(engine: Engine) -> list[str]:
    """What the tables lack or have in addition to the models, one line each.

    Raises `ConfigurationError` if Alembic is missing.
    """
    with _transaction(engine) as connection:
        return _differences(connection)


def revision(engine: Engine) -> str | None:
    """The revision of the database; None if no migration ever ran. Raises `ConfigurationError` without Alembic."""
    with _transaction(engine) as connection:
        return _context(connection).get_current_revision()


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction; raises `ConfigurationError` if Alembic is missing."""
    try:
        import alembic  # noqa: F401 - a test of its presence
    except ModuleNotFoundError:
        raise ConfigurationError(
            "Migrations need Alembic; install it with `pip install 'agentexec-reference[migrations]'`."
        ) from None
    with engine.begin() as connection:
        yield connection


def _upgrade(connection: Connection) -> list[str]:
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": VERSION_TABLE})
    applied: list[str] = []  # env.py adds the revisions that it applies
    config = Config(attributes={"connection": connection, "applied": applied})
    config.set_main_option("script_location", str(Path(__file__).parent))
    found = inspect(connection)
    unknown = _context(connection).get_current_revision() is None and found.has_table(ACTIVITY_TABLE)
    if unknown:
        has = {item["name"] for item in found.get_columns(ACTIVITY_TABLE) + found.get_indexes(ACTIVITY_TABLE)}
        marks = {f"ix_{ACTIVITY_TABLE}_status": "head", "dead_lettered_at": "0002"}
        command.stamp(config, next((marks[mark] for mark in marks if mark in has), "0001"))
        applied.clear()
    command.upgrade(config, "head")
    if unknown and (lines := _differences(connection)):
        raise ConfigurationError(
            f"No migration created {ACTIVITY_TABLE}, and it differs from the models ({'; '.join(lines)}). "
            "Correct that by hand, or start with another AGENTEXEC_TABLE_PREFIX."
        )
    return applied


def _context(connection: Connection) -> MigrationContext:
    from alembic.runtime.migration import MigrationContext

    options: dict[str, Any] = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _: kind != "table" or (name != VERSION_TABLE and _owns(name)),
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
    }
    return MigrationContext.configure(connection, opts=options)


def _differences(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata

    copy = MetaData()  # a comparison adds constraints to its argument
    for table in OWN_TABLES:
        table.to_metadata(copy)
    with warnings.catch_warnings():
        ignored = "autogenerate skipping metadata-specified expression-based index"
        warnings.filterwarnings("ignore", message=ignored)
        found = compare_metadata(_context(connection), copy)
    lines = [line for difference in found for line in describe(difference)]
    return lines if connection.dialect.name != "sqlite" else _with_indexes_by_name(connection, lines)


def _with_indexes_by_name(connection: Connection, lines: list[str]) -> list[str]:
    """The lines with indexes compared by name only: SQLite does not report their order, which confuses Alembic."""
    query = text("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    existing = {str(name) for (name,) in connection.execute(query)}
    wanted = {str(i.name): str(t.name) for t in OWN_TABLES for i in t.indexes}
    kept = [line for line in lines if not line.startswith("index ")]
    return kept + [f"index {name} of {wanted[name]} is missing" for name in sorted(wanted.keys() - existing)]


def describe(difference: Any) -> Iterator[str]:
    """Lines for one entry of `alembic.autogenerate.compare_metadata`: a tuple, or a list of changes to a column."""
    if isinstance(difference, list):
        for change in difference:
            yield from describe(change)
        return
    verb, *rest = difference
    action, _, kind = verb.partition("_")
    problem = "is missing" if action == "add" else "is not in the models"
    match action, kind, rest:
        case "add" | "remove", "table", [table]:
            yield f"table {table.name} {problem}"
        case "add" | "remove", "column", [_, table, column]:
            yield f"column {table}.{column.name} {problem}"
        case "add" | "remove", _, [Constraint() | Index() as item] if item.table is not None:
            name = kind.replace("_", " ").replace("fk", "foreign key")
            yield f"{name} {item.name or '(without a name)'} of {item.table.name} {problem}"
        case "modify", "type" | "nullable" | "default", [_, table, column, _, found, wanted]:
            yield f"column {table}.{column} has {kind} {_plain(found)} and should have {_plain(wanted)}"
        case _:
            yield f"{verb}: {', '.join(str(part) for part in rest)}"


def _plain(value: Any) -> str:
    """A type or a flag as it is; a default as its SQL."""
    return str(getattr(value, "arg", value))
