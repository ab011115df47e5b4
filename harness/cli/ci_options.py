"""The options of `harness chaos run` for CI jobs."""

from __future__ import annotations

import argparse
import math

from harness.command_line import above_zero, filled_path
from harness.scenario.run_plan import MOST_TIMEOUT


def add_ci(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a parser."""
    group.add_argument(
        "-x", "--exitfirst", action="store_true", help="stop at the first scenario that is not VALID"
    )
    group.add_argument(
        "--max-seconds",
        type=above_zero(MOST_TIMEOUT),
        default=math.inf,
        metavar="N",
        help="start no scenario that cannot end in time; what was not run is listed, and the verdict is UNKNOWN",
    )
    group.add_argument(
        "--markdown", type=filled_path, metavar="FILE", help="also write the verdicts as Markdown"
    )
