"""`python -m tests.planted.power [NAME ...]`: the stated power of a budget against the share that it finds.

Draws `DRAWN` planted defects at random, all of which have a density from other schedules. Each gets a budget of as few
schedules as find it with at least the probability `POWER`, by this density. `BUDGETS` fresh budgets of each defect are
then simulated. Prints a line for each, and writes the rows into docs/design/simulation.md. It needs no servers and 5
minutes of one processor; with names, it does these of the drawn ones only.

Exit codes: 0 if the found share of at least `WITHIN` of the defects in the table is within its interval, 1 if not.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import hypot
from pathlib import Path

from harness.simulation import simulate
from harness.simulation.power import Density, densities, found_with
from tests.planted.defect import Defect
from tests.planted.defects import DEFECTS
from tests.planted.table import write

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "design" / "simulation.md"
BEGIN, END = "<!-- the power: made by python -m tests.planted.power -->", "<!-- end of the power -->"
SEED, DRAWN, BUDGETS, WITHIN = 17, 10, 100, 9
# A density that rests on fewer schedules with a finding is not drawn: its interval covers nearly every power.
FEWEST_HITS = 5
# Their densities are younger than the draw.
NOT_DRAWN = frozenset({"destructive-pop", "lock-not-on-first-delivery"})
POWER = 0.2
# The first seed of the first drawn defect's budgets, and the seeds of each defect. Densities come from lower ones.
FRESH, APART = 1_000_000, 100_000
YES, NO = "yes", "no"
HEAD = (
    "| defect | density | schedules in a budget | stated power | interval | found in 100 budgets | within |\n"
    "| --- | --- | --: | --: | --- | --: | --- |"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerCheck:
    """A budget of `schedules` for a defect of this density; `found` of `BUDGETS` budgets found it."""

    name: str
    density: Density
    schedules: int
    found: int = 0

    @property
    def stated(self) -> float:
        """The probability that a budget finds the defect, by its density."""
        return found_with(self.density.share, self.schedules)

    @property
    def interval(self) -> tuple[float, float]:
        """Where 95 % of the found shares are: the density and the share of the budgets are both samples.

        Their two intervals are joined as in G. Y. Zou and A. Donner, "Construction of confidence limits about effect
        measures", 2008.
        """
        stated, budgets = self.stated, Density(round(BUDGETS * self.stated), BUDGETS)
        low, high = (found_with(share, self.schedules) for share in self.density.interval)
        below = hypot(stated - low, budgets.share - budgets.interval[0])
        above = hypot(high - stated, budgets.interval[1] - budgets.share)
        return max(0.0, stated - below), min(1.0, stated + above)

    @property
    def within(self) -> bool:
        """Whether the found share is in the interval."""
        low, high = self.interval
        return low <= self.found / BUDGETS <= high

    @property
    def row(self) -> str:
        """The row of the table."""
        low, high = self.interval
        cells = [f"`{self.name}`", f"{self.density.hits} of {self.density.tries}", str(self.schedules)]
        cells += [f"{self.stated:.2f}", f"{low:.2f} to {high:.2f}", f"{self.found / BUDGETS:.2f}"]
        return f"| {' | '.join([*cells, YES if self.within else NO])} |"


def drawn(known: Mapping[str, Density], *, seed: int = SEED) -> Sequence[PowerCheck]:
    """The drawn defects, each with the smallest budget of at least the power `POWER`."""
    able = sorted(n for n, density in known.items() if density.hits >= FEWEST_HITS and n not in NOT_DRAWN)
    return [_budget(name, known[name]) for name in random.Random(seed).sample(able, DRAWN)]


def _budget(name: str, density: Density) -> PowerCheck:
    schedules = next(n for n in count(1) if found_with(density.share, n) >= POWER)
    return PowerCheck(name=name, density=density, schedules=schedules)


def spend(check: PowerCheck, defect: Defect, *, first: int) -> PowerCheck:
    """Simulate all budgets, with seeds from `first` on; one ends with its first schedule that shows the defect."""
    with defect.planted():
        found = sum(
            any(simulate(seed).findings for seed in range(begin, begin + check.schedules))
            for begin in range(first, first + BUDGETS * check.schedules, check.schedules)
        )
    return replace(check, found=found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted.power", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="drawn defects; all of them by default")
    names = parser.parse_args(arguments).names
    checks = drawn(densities())
    order = [check.name for check in checks]
    if unknown := sorted(set(names) - set(order)):
        parser.error(f"{unknown[0]!r} was not drawn; choose from {', '.join(order)}")
    for number, check in enumerate(checks):
        if check.name in (names or order):
            spent = spend(check, DEFECTS[check.name], first=FRESH + number * APART)
            print(spent.row, flush=True)
            write(DOCUMENT, f"{HEAD}\n{spent.row}", order, begin=BEGIN, end=END)
    rows = DOCUMENT.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    return 0 if rows.count(f"| {YES} |") >= WITHIN else 1


if __name__ == "__main__":
    sys.exit(main())
