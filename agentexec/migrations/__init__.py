"""The schema's history, and whether a database is where the models are.

Needs Alembic (the extra `migrations`), which is imported only when one of these functions is called: a pool never
needs it, and its role may lack every right to change tables. All names follow `AGENTEXEC_TABLE_PREFIX`, those of the
version table included, so several installations may share a database with each other and with an application's own
Alembic.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlalchemy.exc import DBAPIError

from agentexec.errors import ConfigurationError
from agentexec.store.models import ACTIVITY_TABLE, PREFIX, metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

__all__ = ["VERSION_TABLE", "differences", "revision", "upgrade"]

VERSION_TABLE = f"{PREFIX}alembic_version"
INSUFFICIENT_PRIVILEGE = "42501"  # SQLSTATE


def upgrade(engine: Engine) -> list[str]:
    """Bring a database to the newest revision; returns the revisions that were applied, oldest first.

    Tables that were made by `create_schema` and agree with the models are adopted as they are. Several callers at
    once wait for each other on Postgres. Raises `ConfigurationError` where Alembic is missing, the role may not
    change tables, or tables are there that nobody's revision made.
    """
    with _explained(), engine.begin() as connection:
        from alembic import command  # the extra `migrations`, see above

        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": VERSION_TABLE})
        before = _revision(connection)
        config = _config(connection)
        if before is None and inspect(connection).has_table(ACTIVITY_TABLE):
            _require_agreement(connection)
            command.stamp(config, "head")
            return []
        command.upgrade(config, "head")
        return _between(config, before, _revision(connection))


def differences(engine: Engine) -> list[str]:
    """What the database's tables lack or have too much, one line each; empty where they are as the models say.

    Raises `ConfigurationError` where Alembic is missing.
    """
    _require_alembic()
    with engine.connect() as connection:
        return _differences(connection)


def revision(engine: Engine) -> str | None:
    """The revision that the database is at; None where no migration ever ran. Raises `ConfigurationError`."""
    _require_alembic()
    with engine.connect() as connection:
        return _revision(connection)


def _require_alembic() -> None:
    try:
        import alembic  # noqa: F401 - asked for, not used
    except ModuleNotFoundError:
        raise ConfigurationError(
            "Migrations need Alembic; install it with `pip install 'agentexec-harness[migrations]'`."
        ) from None


@contextmanager
def _explained() -> Iterator[None]:
    _require_alembic()
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        said = str(error.orig).splitlines()[0]
        raise ConfigurationError(
            f"This role may not change tables ({said}). Run migrations with the role that owns the schema: "
            "`GRANT USAGE, CREATE ON SCHEMA public TO agentexec_migrate` gives it what PostgreSQL 15+ no longer does."
        ) from None


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def _context(connection: Connection) -> MigrationContext:
    from alembic.runtime.migration import MigrationContext

    options: dict[str, Any] = {
        "version_table": VERSION_TABLE,
        "target_metadata": metadata,
        "compare_type": True,
        "compare_server_default": True,
        "include_name": _is_ours,
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
    }
    return MigrationContext.configure(connection, opts=options)


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether a name in the database is to be compared: other applications' tables are not."""
    return kind != "table" or name in metadata.tables


def _revision(connection: Connection) -> str | None:
    return _context(connection).get_current_revision()


def _between(config: Config, before: str | None, after: str | None) -> list[str]:
    from alembic.script import ScriptDirectory

    if before == after or after is None:
        return []
    scripts = ScriptDirectory.from_config(config)
    steps = scripts.iterate_revisions(after, before or "base")
    return [step.revision for step in steps][::-1]


def _require_agreement(connection: Connection) -> None:
    found = _differences(connection)
    if found:
        raise ConfigurationError(
            f"{ACTIVITY_TABLE} is there, but no migration made it and it is not as the models say "
            f"({'; '.join(found)}). Correct that by hand, or start with another AGENTEXEC_TABLE_PREFIX."
        )


def _differences(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata

    from agentexec.migrations.describe import describe

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="autogenerate skipping metadata-specified expression-based index"
        )
        found = compare_metadata(_context(connection), _copied())
    lines = [line for difference in found for line in describe(difference)]
    return lines if connection.dialect.name != "sqlite" else _with_indexes_by_name(connection, lines)


def _copied() -> MetaData:
    """The models' tables, for Alembic to work on: a comparison adds constraints to what it is given."""
    copy = MetaData()
    for table in metadata.sorted_tables:
        table.to_metadata(copy)
    return copy


def _with_indexes_by_name(connection: Connection, lines: list[str]) -> list[str]:
    """SQLite cannot say which way an index runs, so Alembic sees one that does as missing and surplus, or not at
    all. Here an index is there if there is one of its name.
    """
    query = text("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    there = {str(name) for (name,) in connection.execute(query)}
    wanted = {str(i.name): str(t.name) for t in metadata.tables.values() for i in t.indexes}
    kept = [line for line in lines if not line.startswith("index ")]
    return kept + [f"index {name} of {wanted[name]} is missing" for name in sorted(wanted.keys() - there)]
