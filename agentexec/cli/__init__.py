"""The `agentexec` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import redis
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agentexec.cli import activities, database, dead_letters, exits, settings, worker
from agentexec.config import masked
from agentexec.errors import AgentexecError

__all__ = ["main"]

NO_SUCH_TABLE = ("42P01", "no such table")  # SQLSTATE of Postgres, words of SQLite


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(exits.USAGE, f"agentexec: {message}; `{self.prog} --help` says what there is.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="agentexec",
        description="Background tasks for AI agents over Redis, with Postgres as the record.",
        epilog="Servers, queue and prefix come from the environment; `agentexec config` shows them.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for part in (worker, database, activities, dead_letters, settings):
        part.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 1 for a no, 64 for wrong usage, 69 for a server that does not answer or
    refuses, 78 for a wrong configuration.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except AgentexecError as error:
        return _say(str(error), exits.CONFIGURATION)
    except (SQLAlchemyError, redis.RedisError) as error:
        return _say(_explain(error), exits.UNAVAILABLE)


def _say(sentence: str, code: int) -> int:
    print(f"agentexec: {masked(sentence)}", file=sys.stderr)
    return code


def _explain(error: SQLAlchemyError | redis.RedisError) -> str:
    if isinstance(error, redis.RedisError):
        return f"Redis does not do as asked ({_first_line(error)}); check REDIS_URL and the server."
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = _first_line(cause)
    if getattr(cause, "sqlstate", None) == NO_SUCH_TABLE[0] or NO_SUCH_TABLE[1] in said:
        return "The tables of agentexec are not there; make them with `agentexec db upgrade`."
    return f"The database does not do as asked ({said}); check DATABASE_URL and the server."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
