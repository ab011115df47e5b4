"""The options of `harness chaos run` for CI jobs."""

from __future__ import annotations

import argparse
import math

from harness.command_line import filled_path


def add_ci(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a parser."""
    group.add_argument(
        "-x", "--exitfirst", action="store_true", help="stop at the first scenario that is not VALID"
    )
    group.add_argument(
        "--max-seconds",
        type=_seconds,
        default=math.inf,
        metavar="N",
        help="start no scenario that cannot end in time; what was not run is listed, and the verdict is UNKNOWN",
    )
    group.add_argument(
        "--markdown", type=filled_path, metavar="FILE", help="also write the verdicts as Markdown"
    )


def _seconds(text: str) -> float:
    """An argument type: a number of seconds above 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return found
