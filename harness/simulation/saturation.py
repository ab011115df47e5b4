"""How many cells a campaign has reached, how many more there may be, and when it may stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.history.figures import counted


@dataclass(kw_only=True, slots=True)
class Saturation:
    """In how many of `runs` runs each cell of `harness.simulation.coverage`, or each group of them, was reached.

    `curve` has their number after so many runs, wherever it grew. `noun` and `of` name what is counted.
    """

    noun: str = "cell"
    of: str = "fault, call and state"
    runs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    curve: list[tuple[int, int]] = field(default_factory=list)

    def add(self, runs: int, counts: Mapping[str, int]) -> None:
        """Add the counts of several runs."""
        before = len(self.counts)
        self.runs += runs
        self.counts.update(counts)
        if len(self.counts) > before:
            self.curve.append((self.runs, len(self.counts)))

    @property
    def named(self) -> str:
        """The number of cells, or of groups."""
        return f"{counted(len(self.counts), self.noun)} of {self.of}"

    @property
    def quiet(self) -> int:
        """The number of runs since the last new cell."""
        return self.runs - (self.curve[-1][0] if self.curve else 0)

    @property
    def new_in_next(self) -> float:
        """The number of new cells to expect of the next run: as many as one run alone reached, of all runs.

        It is above the probability of a new cell (I. J. Good, "The population frequencies of species", 1953).
        """
        once = sum(count == 1 for count in self.counts.values())
        return once / self.runs if self.runs else 0.0

    @property
    def line(self) -> str:
        """One line for the terminal."""
        return (
            f"{self.named}; the last {counted(self.quiet, 'run')} reached nothing new; the next one does with at most "
            f"{min(1.0, self.new_in_next):.2%}"
        )

    def to_json(self) -> dict[str, object]:
        """The figures, the curve, and the cells, the rarest first."""
        return {
            "runs": self.runs,
            f"{self.noun}s": len(self.counts),
            "quiet": self.quiet,
            "new in next": self.new_in_next,
            "curve": self.curve,
            "counts": dict(sorted(self.counts.items(), key=lambda one: (one[1], one[0]))),
        }
