"""What a campaign without a finding is worth: how rare a defect may be that it would have found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import expm1, log1p, sqrt
from typing import NamedTuple

WANTED = 0.95
"""The probability with which a defect is found that counts as found."""
Z = 1.96
"""The quantile of the normal distribution for a two-sided interval of 95 %."""


class Density(NamedTuple):
    """How many of the schedules that were tried show a defect."""

    hits: int
    tries: int

    @property
    def share(self) -> float:
        """The measured share of schedules, from 0 to 1."""
        return self.hits / self.tries

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95 % of the share (E. B. Wilson, "Probable inference", 1927)."""
        spread = Z * Z / self.tries
        middle = (self.share + spread / 2) / (1 + spread)
        half = Z * sqrt(self.share * (1 - self.share) / self.tries + spread / (4 * self.tries)) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)


def found_with(share: float, runs: int) -> float:
    """The probability that one of so many independent schedules shows a defect that this share of them shows."""
    return 1.0 if share >= 1 else -expm1(runs * log1p(-share))


def rarest(runs: int) -> float:
    """The smallest share of schedules whose defect so many of them show with probability `WANTED`."""
    return -expm1(log1p(-WANTED) / runs)


@cache
def densities() -> Mapping[str, Density]:
    """The measured densities of the planted defects that a simulation can find, by name."""
    found = json.loads((files("harness.simulation") / "densities.json").read_text("utf-8"))
    return {name: Density(*counts) for name, counts in found.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """The worth of a campaign without a finding.

    `rarest` is the share of schedules of the rarest defect that it finds with probability `WANTED`. Of the `known`
    defects, at least `least` and at most `most` are as dense, by the intervals of their densities.
    """

    runs: int
    rarest: float
    known: int
    least: int
    most: int

    @classmethod
    def of(cls, runs: int) -> Power:
        """That of so many schedules; at least 1."""
        known, bound = densities(), rarest(runs)
        lows, highs = zip(*(one.interval for one in known.values()), strict=True)
        return cls(
            runs=runs,
            rarest=bound,
            known=len(known),
            least=sum(low >= bound for low in lows),
            most=sum(high >= bound for high in highs),
        )

    @property
    def line(self) -> str:
        """One sentence."""
        counts = str(self.most) if self.least == self.most else f"{self.least} to {self.most}"
        return (
            f"a defect that {1000 * self.rarest:.2g} of 1,000 schedules show would have been found with "
            f"{100 * WANTED:g} %; {counts} of {self.known} planted ones are as dense"
        )

    def to_json(self) -> dict[str, object]:
        """The figures."""
        return {
            "rarest": self.rarest,
            "wanted": WANTED,
            "known": self.known,
            "least": self.least,
            "most": self.most,
        }
