"""`python -m loadtests.stall`: stops parts of the system under load of an open and a closed model beside each other.

Writes the table to stall.md in the folder of the report, and a picture of each stop.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from harness.command_line import Parser, above_zero, exit_code_of, filled_path
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import UsageError
from harness.load.generator import require_locust
from harness.progress import PlainLines
from harness.report import locked_folder
from loadtests.stall.output import stall_picture, stall_table
from loadtests.stall.stalls import STOPS, run_stall

_LONGEST_SECONDS = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stalls, print the table and write the files; returns the exit code."""
    return exit_code_of("stall", lambda: _stalls(arguments))


def _stalls(arguments: Sequence[str] | None) -> int:
    options = _options(arguments)
    require_locust()
    return _run(options)


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(
        prog="python -m loadtests.stall", description="One stall, seen by an open and a closed model."
    )
    parser.add_argument(
        "stops",
        nargs="*",
        metavar="STOP",
        help=f"what stands still: {', '.join(STOPS)} (default: each in turn)",
    )
    number = above_zero(_LONGEST_SECONDS)
    parser.add_argument(
        "--stop", type=number, default=5.0, metavar="SECONDS", help="its length (%(default)g)"
    )
    parser.add_argument(
        "--run-time", type=number, default=40.0, metavar="SECONDS", help="the load (%(default)g)"
    )
    parser.add_argument("--report", type=filled_path, help="default: reports/stall-<time>")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.stops) - set(STOPS)):
        raise UsageError(f"Nothing is called {unknown[0]!r}; choose from {', '.join(STOPS)}.")
    return options


def _run(options: Namespace) -> int:
    progress = PlainLines()
    stalls = []
    report = options.report or Path("reports") / f"stall-{time.strftime('%Y%m%d-%H%M%S')}"
    with locked_folder(report) as folder:
        for stopped in options.stops or STOPS:
            progress.step(f"{stopped}: {options.run_time:g} s of load, {options.stop:g} s of stop")
            with EmbeddedEnvironment() as environment:
                found = run_stall(
                    environment,
                    stopped,
                    seconds=options.stop,
                    lasting=options.run_time,
                    folder=folder.absolute() / stopped,
                )
            stalls.append(found)
            (folder / f"stall-{stopped}.svg").write_text(stall_picture(found), "utf-8")
        table = stall_table(stalls)
        (folder / "stall.md").write_text(f"{table}\n", "utf-8")
    print(f"{table}\nreport: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
