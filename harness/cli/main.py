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
from importlib import import_module

from harness.command_line import Parser, exit_code_of, installed_version, is_storage
from harness.errors import HarnessError
from harness.masking import one_line

# Each is a module of harness/cli with a function `add_NAME`, in the order of --help.
COMMANDS = {
    "chaos": "run or list fault scenarios",
    "crashpoints": "strike at every command of a task's life",
    "check": "judge a recorded history again",
    "simulate": "run whole systems in virtual time, by seeds",
    "load": "load on a queue, with a verdict",
    "report": "compare reports, or list all of a folder",
    "target": "list, check and write targets",
    "queues": "many targets under the same faults, as a table",
    "llm": "a simulated LLM endpoint, and what faults cost on it",
    "doctor": "check an installation of agentexec, read-only",
    "images": "container images",
}
# Their actions take the options of all commands.
WITH_ACTIONS = ("chaos", "load", "report", "target", "llm", "images")

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
        options = _parser(program, given).parse_args(given, Namespace(given=given, program=program))
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


def _parser(program: str, given: Sequence[str]) -> Parser:
    """The parser of the command that is given; only its module is imported, since all of them take half a second."""
    parser = Parser(prog=program, description="Chaos, load and verdicts for background-execution systems.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    chosen = next((word for word in given if not word.startswith("-")), "")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        with_actions = name in WITH_ACTIONS
        command = commands.add_parser(name, help=text, parents=[] if with_actions else [common])
        if name == chosen:
            add = getattr(import_module(f"harness.cli.{name}"), f"add_{name}")
            add(command, common) if with_actions else add(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
