"""The entry point: `harness COMMAND`, each with `--help`.

The commands are chaos, crashpoints, check, simulate, load, queues, report, target, llm, doctor and images.

Exit codes: 0 VALID, 1 INVALID, 2 UNKNOWN or no verdict reached, 64 wrong usage, 130 Ctrl-C, 143 SIGTERM. An error is
one sentence on stderr; `--debug` adds the traceback.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial

from harness.cli import chaos, check, crashpoints, doctor, images, llm, load, queues, report, simulate, target
from harness.command_line import Parser, exit_code_of, installed_version, is_storage
from harness.errors import HarnessError
from harness.masking import one_line

_BUG = "This is a bug of the harness or of a target; --debug shows where."


def agentexec_main(arguments: Sequence[str]) -> int:
    """Run a command of the harness that was called as `agentexec COMMAND`; its messages say so."""
    return main(arguments, program="agentexec")


def main(arguments: Sequence[str] | None = None, *, program: str = "harness") -> int:
    """Run the command line and return its exit code; raises only the `SystemExit` of --help and --version.

    `program` is what the caller ran, for the messages.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(program, partial(_called, program, given), given)


def _called(program: str, given: Sequence[str]) -> int:
    try:
        options = _parser(program).parse_args(given, Namespace(given=given, program=program))
        return _run(options)
    except Exception as error:
        if isinstance(error, HarnessError | BrokenPipeError) or is_storage(error):
            raise
        sentence = one_line(f"{type(error).__name__}: {error}").rstrip(".")
        raise HarnessError(f"{sentence}. {_BUG}") from error


def _run(options: Namespace) -> int:
    try:
        code: int = options.run(options)
    except SystemExit as error:  # --help and --version end before
        raise HarnessError(
            f"Code that the harness imported or called ended with sys.exit({error.code!r}). Take that call out of it."
        ) from error
    return code


def _parser(program: str) -> Parser:
    parser = Parser(prog=program, description="Chaos, load and verdicts for background-execution systems.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chaos.add_chaos(commands.add_parser("chaos", help="run or list fault scenarios"), common)
    crashpoints.add_crashpoints(
        commands.add_parser("crashpoints", help="strike at every command of a task's life", parents=[common])
    )
    check.add_check(commands.add_parser("check", help="judge a recorded history again", parents=[common]))
    simulate.add_simulate(
        commands.add_parser("simulate", help="run whole systems in virtual time, by seeds", parents=[common])
    )
    load.add_load(commands.add_parser("load", help="load on a queue, with a verdict"), common)
    report.add_report(commands.add_parser("report", help="compare reports, or list all of a folder"), common)
    target.add_target(commands.add_parser("target", help="list, check and write targets"), common)
    queues.add_queues(
        commands.add_parser("queues", help="many targets under the same faults, as a table", parents=[common])
    )
    llm.add_llm(
        commands.add_parser("llm", help="a simulated LLM endpoint, and what faults cost on it"), common
    )
    doctor.add_doctor(
        commands.add_parser("doctor", help="check an installation of agentexec, read-only", parents=[common])
    )
    images.add_images(commands.add_parser("images", help="container images"), common)
    return parser


if __name__ == "__main__":
    sys.exit(main())
