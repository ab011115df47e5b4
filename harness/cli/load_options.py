"""The options of `harness chaos run` for a load in the same run."""

from __future__ import annotations

from argparse import Namespace, _ArgumentGroup
from typing import TYPE_CHECKING

from harness.command_line import above_zero, flag, number_word
from harness.errors import UsageError
from harness.llm.metering import Metering

if TYPE_CHECKING:
    from harness.load.planned_load import PlannedLoad

_LATENESS = 0.05
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
        help=f"bound of the generator's own p99 (default {_LATENESS:g})",
    )


def planned_load(options: Namespace, seed: int, metering: Metering | None) -> PlannedLoad | None:
    """The load of the options, None without `--load`; raises `UsageError`. `metering` bills tokens and money."""
    if options.load is None:
        for name in ("threshold", "load_lateness"):
            if getattr(options, name):
                raise UsageError(f"{flag(name)} judges a load. Give one with --load, or leave it out.")
        return None
    for name in ("tasks", "rate"):
        if getattr(options, name) is not None:
            raise UsageError(f"--load decides when tasks arrive and how many. Leave {flag(name)} out.")
    try:
        from harness.load.bill import require_bill
        from harness.load.planned_load import PlannedLoad
        from harness.load.thresholds import parse_all
    except ModuleNotFoundError as error:
        raise UsageError(f"--load needs {error.name}. Install the extra: agentexec-harness[load].") from None
    lateness = options.load_lateness or _LATENESS
    load = PlannedLoad.of(options.load, seed=seed, thresholds=options.threshold, lateness=lateness)
    require_bill(parse_all(load.thresholds), metering)
    return load


def load_words(options: Namespace) -> list[str]:
    """The options as words of the command that repeats a run; none without a load."""
    if options.load is None:
        return []
    words = ["--load", options.load, *(word for one in options.threshold for word in ("--threshold", one))]
    if options.load_lateness is not None:
        words += ["--load-lateness", number_word(options.load_lateness)]
    return words
