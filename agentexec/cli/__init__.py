"""The `agentexec` command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from agentexec.cli.parsing import CONFIGURATION, OK, UNAVAILABLE, CommandParser, NegativeResult, print_error
from agentexec.core.streams import flush_standard_streams
from agentexec.errors import AgentexecError
from agentexec.text import first_line

__all__ = ["main"]

UNDEFINED_TABLE = "42P01"  # SQLSTATE


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code.

    A reader of the output that ends early, such as `head`, changes no exit code.

    Exit codes: 0 success, 1 tables differ or an id is unknown, 64 wrong usage, 69 a server refuses or does not
    answer, 78 wrong configuration.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["doctor"]:
        return _doctor(words)
    options = _parser(words).parse_args(words)
    if "pool" not in options:  # the module of a pool may set up the log itself
        logging.basicConfig(level="INFO", format=import_module("agentexec.ops.logs").TEXT, stream=sys.stderr)
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
    except (import_module("sqlalchemy.exc").SQLAlchemyError, import_module("redis").RedisError) as error:
        code = UNAVAILABLE
        print_error(_explained(error))
    flush_standard_streams()
    return code


def _parser(argv: Sequence[str]) -> CommandParser:
    parser = CommandParser(
        prog="agentexec",
        description="Background tasks for AI agents, with Redis as the queue and Postgres as the activity store.",
        epilog="Servers, queue and prefix come from the environment; `config` shows them, `doctor` checks them.",
    )
    if argv[:1] == ["worker"]:  # nothing that takes long may be imported before its fork server has started
        import_module("agentexec.cli.worker")
    else:
        version = import_module("agentexec.config").VERSION
        parser.add_argument("--version", action="version", version=f"agentexec {version}")
        for module in ("activities", "database", "dead_letters", "settings", "worker"):
            import_module(f"agentexec.cli.{module}")
    parser.add_commands()
    return parser


def _doctor(words: Sequence[str]) -> int:
    for point in import_module("importlib.metadata").entry_points(group="agentexec.commands", name="doctor"):
        return int(point.load()(words))
    print_error("The doctor is in another distribution; install it with `pip install agentexec-harness`.")
    return CONFIGURATION


def _explained(error: Exception) -> str:
    line = first_line(error)
    if isinstance(error, import_module("redis").RedisError):
        return f"Redis does not do as asked ({line}); check REDIS_URL and the server."
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    if sqlstate == UNDEFINED_TABLE or "no such table" in line:  # Postgres, SQLite
        return "The tables of agentexec are not there; make them with `agentexec db upgrade`."
    return f"The database does not do as asked ({line}); check DATABASE_URL and the server."
