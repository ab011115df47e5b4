"""The command line: `harness chaos list | run`, `harness check`, `harness simulate`, `harness images build`,
`harness report compare`.
`harness report compare`.

Exit codes: 0 VALID, 1 INVALID, 2 UNKNOWN or no verdict reached, 64 wrong usage, 130 Ctrl-C, 143 SIGTERM. What went
wrong is one sentence on stderr; `--debug` adds the traceback.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Never

from harness.cli import commands
from harness.cli.simulate import add_simulate
from harness.errors import EXIT_UNKNOWN, HarnessError, UsageError
from harness.masking import masked

_BACKENDS = ("embedded", "containers", "external")
_BUG = "This is a bug of the harness or of a target; --debug shows where."


class _Interrupted(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is: everything is taken down on the way out."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        """Raise `UsageError`, so that wrong usage is one sentence and exit code 64."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises but for a bug in argparse's own exits."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        options = _parser().parse_args(given)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except HarnessError as error:
        return _complain(str(error), error.exit_code, debug="--debug" in given)
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, _Interrupted) else signal.SIGINT
        print(f"harness: interrupted by {number.name}; everything that was started is gone.", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:  # `harness chaos list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNKNOWN
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence instead of a traceback
        sentence = f"{type(error).__name__}: {error}".rstrip(".")
        return _complain(f"{sentence}. {_BUG}", EXIT_UNKNOWN, debug="--debug" in given)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _complain(sentence: str, code: int, *, debug: bool) -> int:
    if debug:
        print(masked(traceback.format_exc()), file=sys.stderr)
    print(f"harness: {masked(sentence)}", file=sys.stderr)
    return code


def _terminated(_number: int, _frame: FrameType | None) -> Never:
    raise _Interrupted


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="harness", description="Chaos, load and verdicts for background-execution systems.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    common = _Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    rooms = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_chaos(rooms.add_parser("chaos", help="run or list fault scenarios"), common)
    _add_check(rooms.add_parser("check", help="judge a recorded history again", parents=[common]))
    add_simulate(
        rooms.add_parser("simulate", help="run whole systems in virtual time, by seeds", parents=[common])
    )
    reports = rooms.add_parser("report", help="read what runs left").add_subparsers(
        metavar="ACTION", required=True
    )
    compared = reports.add_parser("compare", help="compare two files of benchmark figures", parents=[common])
    compared.add_argument("before", type=Path, metavar="BEFORE")
    compared.add_argument("after", type=Path, metavar="AFTER")
    compared.set_defaults(run=commands.compare_figures)
    images = rooms.add_parser("images", help="container images").add_subparsers(
        metavar="ACTION", required=True
    )
    build = images.add_parser(
        "build", help="build the Postgres and Redis images from Debian's packages", parents=[common]
    )
    build.add_argument("--force", action="store_true", help="build anew what is there already")
    build.set_defaults(run=commands.build_images)
    return parser


def _add_check(check: argparse.ArgumentParser) -> None:
    check.add_argument("history", type=Path, metavar="HISTORY", help="a history file, or a folder of them")
    check.add_argument("--scenario", required=True, metavar="NAME", help="whose checkers to ask")
    check.add_argument("--json", action="store_true", help="print one JSON document")
    check.set_defaults(run=commands.check_history)


def _add_chaos(chaos: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = chaos.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the scenarios", parents=[common])
    listing.add_argument("--json", action="store_true", help="print one JSON document")
    listing.set_defaults(run=commands.list_scenarios)
    run = actions.add_parser("run", help="run scenarios", parents=[common])
    run.set_defaults(run=commands.run_scenarios)
    run.add_argument("scenarios", nargs="*", metavar="NAME", help="scenarios, or package.module:NAME")
    run.add_argument("--all", action="store_true", help="every scenario that is known")
    run.add_argument("--seed", type=int, metavar="N", help="repeat a schedule (default: random, and printed)")
    run.add_argument(
        "--tasks", type=_positive, default=240, metavar="N", help="tasks to submit (default 240)"
    )
    run.add_argument("--target", default="agentexec", metavar="NAME", help="target, or package.module:NAME")
    run.add_argument("--report", type=Path, metavar="DIR", help="default: reports/<time>-<seed>")
    run.add_argument("--json", action="store_true", help="print verdict.json on stdout, the rest on stderr")
    _add_servers(run.add_argument_group("servers"))


def _add_servers(run: argparse._ArgumentGroup) -> None:
    run.add_argument("--backend", choices=_BACKENDS, default="embedded", help="where the servers come from")
    run.add_argument(
        "--postgres-bin", type=Path, metavar="DIR", help="embedded: an installed Postgres instead"
    )
    run.add_argument(
        "--redis-server", type=Path, metavar="PATH", help="embedded: an installed server instead"
    )
    run.add_argument("--postgres-image", metavar="IMAGE", help="containers: another image")
    run.add_argument("--redis-image", metavar="IMAGE", help="containers: another image")
    run.add_argument("--database-url", metavar="URL", help="external: Postgres (or HARNESS_DATABASE_URL)")
    run.add_argument("--redis-url", metavar="URL", help="external: Redis (or HARNESS_REDIS_URL)")
    run.add_argument(
        "--allow-destructive",
        metavar="DATABASE",
        help="external: run destructive scenarios against the database of this name",
    )


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def _version() -> str:
    try:
        return metadata.version("agentexec-harness")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
