"""The `agentexec` command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from agentexec.config import load_settings
from agentexec.core.db import create_schema, engine_for, require_supported_database
from agentexec.errors import AgentexecError
from agentexec.worker.reference import PoolReference

EXIT_USAGE = 64
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # argparse wants NoReturn; exit() below never returns
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"agentexec: {message}\n")


def _worker(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(Path.cwd()))
    reference = PoolReference.parse(options.pool)
    try:
        pool = reference.load()
    except ModuleNotFoundError as error:
        if error.name and (reference.module or "").startswith(error.name):
            print(
                f"agentexec: there is no module {error.name!r}; run the command where it can be imported.",
                file=sys.stderr,
            )
            return EXIT_USAGE
        raise
    pool.reference = reference
    return pool.run()


def _create(_options: argparse.Namespace) -> int:
    engine = engine_for(load_settings().require_database_url())
    require_supported_database(engine)
    create_schema(engine)
    engine.dispose()
    print("The tables and indexes of agentexec are there.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="agentexec",
        description="Background tasks for AI agents over Redis, with Postgres as the record.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    worker = commands.add_parser("worker", help="run a pool of worker processes")
    worker.add_argument("pool", help="the pool to run, as package.module:pool")
    worker.set_defaults(run=_worker)
    database = commands.add_parser("db", help="look after the tables").add_subparsers(
        required=True, metavar="ACTION"
    )
    create = database.add_parser("create", help="create missing tables and indexes")
    create.set_defaults(run=_create)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 64 for wrong usage, 78 for a wrong configuration."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        return int(options.run(options))
    except AgentexecError as error:
        print(f"agentexec: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
