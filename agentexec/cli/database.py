"""`agentexec db` and `agentexec cleanup`: the tables, and old activities in them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from agentexec import migrations
from agentexec.activity.retention import BATCH, DAYS, MAX_BATCH, cleanup_old_activities
from agentexec.cli.parsing import NegativeResult, argument, command, number
from agentexec.config import LONGEST_SERVER_TIMEOUT, load_settings
from agentexec.core.db import create_schema, engine_for, require_supported_database


@command("db upgrade")
def _upgrade(_options: argparse.Namespace) -> None:
    """Bring the tables to the newest revision."""
    with _database() as engine:
        applied = migrations.upgrade(engine)
        at = migrations.revision(engine)
    print(f"Applied {', '.join(applied)}." if applied else f"Nothing to do: the tables are at revision {at}.")


@command("db check")
def _check(_options: argparse.Namespace) -> None:
    """Compare the tables with the models; exit code 1 if they differ."""
    with _database() as engine:
        found = migrations.differences(engine)
    print("\n".join(found) or "The tables are as the models say.")
    if found:
        raise NegativeResult(f"{len(found)} difference(s); `agentexec db upgrade` applies what is missing.")


@command("db create")
def _create(_options: argparse.Namespace) -> None:
    """Create missing tables and indexes without Alembic, for a first try."""
    with _database() as engine:
        create_schema(engine)
    print("The tables and indexes of agentexec are there.")


@command(
    "cleanup",
    argument("--days", type=number(float, 0, 100_000), default=DAYS, help="age (default %(default)g)"),
    argument("--archive", action="store_true", help="move them to the archive tables"),
    argument("--batch", type=number(int, 1, MAX_BATCH), default=BATCH, help="rows of each transaction"),
)
def _cleanup(options: argparse.Namespace) -> None:
    """Delete or archive old terminal activities."""
    with _database() as engine:
        gone = cleanup_old_activities(engine, options.days, archive=options.archive, batch_size=options.batch)
    verb = "Archived" if options.archive else "Deleted"
    print(f"{verb} {gone} activities older than {options.days:g} days.")


@contextmanager
def _database() -> Iterator[Engine]:
    # The server is silent during a statement that takes long, such as one that makes an index.
    engine = engine_for(load_settings().require_database_url(), timeout=LONGEST_SERVER_TIMEOUT)
    try:
        require_supported_database(engine)
        yield engine
    finally:
        engine.dispose()
