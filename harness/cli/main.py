"""The entry point: `harness chaos | check | simulate | queues | report | target | images`, each with its own `--help`.

Exit codes: 0 VALID, 1 INVALID, 2 UNKNOWN or no verdict reached, 64 wrong usage, 130 Ctrl-C, 143 SIGTERM. An error is
one sentence on stderr; `--debug` adds the traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from harness.cli import chaos, check, images, queues, report, simulate, target
from harness.command_line import Parser, installed_version, report_interrupt, sigterm_raises
from harness.errors import EXIT_UNKNOWN, HarnessError
from harness.masking import masked

_BUG = "This is a bug of the harness or of a target; --debug shows where."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; raises only the `SystemExit` of --help and --version."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with sigterm_raises():
        try:
            options = _parser().parse_args(given)
            code: int = options.run(options)
            sys.stdout.flush()
            return code
        except HarnessError as error:
            return _complain(str(error), error.exit_code, debug="--debug" in given)
        except KeyboardInterrupt as interrupt:
            return report_interrupt("harness", interrupt)
        except BrokenPipeError:  # `harness chaos list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_UNKNOWN
        except Exception as error:  # noqa: BLE001 - a sentence instead of a traceback
            sentence = f"{type(error).__name__}: {error}".rstrip(".")
            return _complain(f"{sentence}. {_BUG}", EXIT_UNKNOWN, debug="--debug" in given)


def _complain(sentence: str, code: int, *, debug: bool) -> int:
    if debug:
        print(masked(traceback.format_exc()), file=sys.stderr)
    print(f"harness: {masked(sentence)}", file=sys.stderr)
    return code


def _parser() -> Parser:
    parser = Parser(prog="harness", description="Chaos, load and verdicts for background-execution systems.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chaos.add_chaos(commands.add_parser("chaos", help="run or list fault scenarios"), common)
    check.add_check(commands.add_parser("check", help="judge a recorded history again", parents=[common]))
    simulate.add_simulate(
        commands.add_parser("simulate", help="run whole systems in virtual time, by seeds", parents=[common])
    )
    report.add_report(commands.add_parser("report", help="compare reports, or list all of a folder"), common)
    target.add_target(commands.add_parser("target", help="list, check and write targets"), common)
    queues.add_queues(
        commands.add_parser("queues", help="many targets under the same faults, as a table", parents=[common])
    )
    images.add_images(commands.add_parser("images", help="container images"), common)
    return parser


if __name__ == "__main__":
    sys.exit(main())
