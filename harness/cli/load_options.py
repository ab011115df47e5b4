"""The options of `harness chaos run` for a load in the same run."""

from __future__ import annotations

from argparse import Namespace, _ArgumentGroup
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.command_line import above_zero, filled_path, flag, number_word
from harness.errors import UsageError
from harness.llm.metering import Metering
from harness.run.asked_load import LATENESS_SECONDS, AskedLoad
from harness.scenario import Scenario
from harness.targets.base import Target

if TYPE_CHECKING:
    from harness.load.planned_load import PlannedLoad

_MOST_LATENESS = 3600


def add_load(group: _ArgumentGroup) -> None:
    """Add the options."""
    group.add_argument(
        "--load",
        metavar="SHAPE",
        help="when tasks arrive: \"hold(20, '1m'), spike(200, '10s')\", or module:NAME or file.py:NAME",
    )
    group.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="TEXT",
        help="e.g. 'TASK p95 < 2s, lost = 0'; repeatable; instead of those of the module or file",
    )
    group.add_argument(
        "--load-lateness",
        type=above_zero(_MOST_LATENESS),
        metavar="SECONDS",
        help=f"bound of the generator's own p99 (default {LATENESS_SECONDS:g})",
    )
    group.add_argument(
        "--load-baseline",
        type=filled_path,
        metavar="DIR",
        help="the report of an earlier load or chaos run, for thresholds such as 'TASK p95 <= 1.2x'",
    )


def planned_load(
    options: Namespace,
    seed: int,
    metering: Metering | None,
    target: Target,
    scenarios: Sequence[Scenario],
) -> PlannedLoad | None:
    """The load of the options, None without `--load`; raises `UsageError`. `metering` bills tokens and money."""
    if options.load is None:
        for name in ("threshold", "load_lateness", "load_baseline"):
            if getattr(options, name):
                raise UsageError(f"{flag(name)} judges a load. Give one with --load, or leave it out.")
        return None
    for name in ("tasks", "rate"):
        if getattr(options, name) is not None:
            raise UsageError(f"--load decides when tasks arrive and how many. Leave {flag(name)} out.")
    asked = AskedLoad(
        load=options.load,
        thresholds=options.threshold,
        lateness=options.load_lateness,
        baseline=options.load_baseline,
        metering=metering,
    )
    return asked.planned(seed, target, [one.name for one in scenarios])


def load_words(options: Namespace) -> list[str]:
    """The options as words of the command that repeats a run; none without a load."""
    if options.load is None:
        return []
    words = ["--load", options.load, *(word for one in options.threshold for word in ("--threshold", one))]
    if options.load_lateness is not None:
        words += ["--load-lateness", number_word(options.load_lateness)]
    if options.load_baseline is not None:
        words += ["--load-baseline", str(options.load_baseline)]
    return words
