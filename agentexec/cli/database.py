"""`agentexec db` and `agentexec cleanup`: the tables and what is old in them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from agentexec import migrations
from agentexec.activity.retention import BATCH, DAYS, MAX_BATCH, cleanup_old_activities
from agentexec.cli import exits
from agentexec.config import load_settings
from agentexec.core.db import create_schema, engine_for, require_supported_database


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    database = commands.add_parser("db", help="look after the tables")
    actions = database.add_subparsers(required=True, metavar="ACTION")
    for name, run, what in (
        ("upgrade", _upgrade, "bring the tables to the newest revision"),
        ("check", _check, "say whether the tables are as the models say; exit code 1 if not"),
        ("create", _create, "create missing tables and indexes without Alembic, for a first try"),
    ):
        actions.add_parser(name, help=what).set_defaults(run=run)
    cleanup = commands.add_parser("cleanup", help="delete or archive old activities that are over")
    cleanup.add_argument("--days", type=_days, default=DAYS, help="age in days (default %(default)g)")
    cleanup.add_argument("--archive", action="store_true", help="move them to the archive tables")
    cleanup.add_argument(
        "--batch", type=_batch, default=BATCH, help="rows per transaction (default %(default)d)"
    )
    cleanup.set_defaults(run=_cleanup)


def _upgrade(_options: argparse.Namespace) -> int:
    with _database() as engine:
        applied = migrations.upgrade(engine)
        at = migrations.revision(engine)
    print(f"Applied {', '.join(applied)}." if applied else f"Nothing to do: the tables are at revision {at}.")
    return exits.OK


def _check(_options: argparse.Namespace) -> int:
    with _database() as engine:
        found = migrations.differences(engine)
    if not found:
        print("The tables are as the models say.")
        return exits.OK
    for line in found:
        print(line)
    print(
        f"agentexec: {len(found)} difference(s); `agentexec db upgrade` applies what is missing.",
        file=sys.stderr,
    )
    return exits.DIFFERENT


def _create(_options: argparse.Namespace) -> int:
    with _database() as engine:
        create_schema(engine)
    print("The tables and indexes of agentexec are there.")
    return exits.OK


def _cleanup(options: argparse.Namespace) -> int:
    with _database() as engine:
        taken = cleanup_old_activities(
            engine, options.days, archive=options.archive, batch_size=options.batch
        )
    print(
        f"{'Archived' if options.archive else 'Deleted'} {taken} activities older than {options.days:g} days."
    )
    return exits.OK


@contextmanager
def _database() -> Iterator[Engine]:
    engine = engine_for(load_settings().require_database_url())
    try:
        require_supported_database(engine)
        yield engine
    finally:
        engine.dispose()


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < 100_000:
        raise argparse.ArgumentTypeError(f"{text} is no age in days; give a number from 0 up")
    return days


def _batch(text: str) -> int:
    rows = int(text)
    if not 1 <= rows <= MAX_BATCH:
        raise argparse.ArgumentTypeError(f"a batch has 1 to {MAX_BATCH} rows, not {text}")
    return rows
