"""The `agentexec` command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import redis
from sqlalchemy.exc import SQLAlchemyError

from agentexec.cli import activities, database, dead_letters, settings, worker  # noqa: F401 - commands
from agentexec.cli.output import NegativeResult, print_error
from agentexec.cli.parsing import CONFIGURATION, OK, UNAVAILABLE, CommandParser
from agentexec.config import VERSION
from agentexec.core.streams import flush_standard_streams
from agentexec.errors import AgentexecError
from agentexec.ops.logs import TEXT
from agentexec.text import first_line

__all__ = ["main"]

UNDEFINED_TABLE = "42P01"  # SQLSTATE


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code.

    A reader of the output that ends early, such as `head`, changes no exit code.

    Exit codes: 0 success, 1 tables differ or an id is unknown, 64 wrong usage, 69 a server refuses or does not
    answer, 78 wrong configuration.
    """
    parser = CommandParser(
        prog="agentexec",
        description="Background tasks for AI agents, with Redis as the queue and Postgres as the activity store.",
        epilog="Servers, queue and prefix come from the environment; `agentexec config` shows them.",
    )
    parser.add_argument("--version", action="version", version=f"agentexec {VERSION}")
    parser.add_commands()
    options = parser.parse_args(argv)
    if "pool" not in options:  # the module of a pool may set up the log itself
        logging.basicConfig(level=logging.INFO, format=TEXT, stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        code = int(options.run(options) or OK)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = OK
    except AgentexecError as error:
        code = error.code if isinstance(error, NegativeResult) else CONFIGURATION
        print_error(str(error))
    except (SQLAlchemyError, redis.RedisError) as error:
        code = UNAVAILABLE
        print_error(_explained(error))
    flush_standard_streams()
    return code


def _explained(error: SQLAlchemyError | redis.RedisError) -> str:
    line = first_line(error)
    if isinstance(error, redis.RedisError):
        return f"Redis does not do as asked ({line}); check REDIS_URL and the server."
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    if sqlstate == UNDEFINED_TABLE or "no such table" in line:  # Postgres, SQLite
        return "The tables of agentexec are not there; make them with `agentexec db upgrade`."
    return f"The database does not do as asked ({line}); check DATABASE_URL and the server."
