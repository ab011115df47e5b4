"""Distributions that pass exactly through published quantiles, with a Pareto tail.

Between two given quantiles, log x is linear in log(1 - u): each piece is a piece of a Pareto distribution, so a mean
and the share of the largest values have closed forms. This suits work of agents, whose p99 is many times its p90.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, inf, log, log1p


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution by its quantiles: `points` are (u, x) with 0 <= u < 1, both rising, x above 0.

    The value of an `u` below the first point is 0: the first u is the probability of the value 0. Beyond the last point
    the distribution is Pareto with the exponent `tail` (smaller is heavier), and no value is above `largest`. Raises
    `ValueError` for other points.
    """

    points: tuple[tuple[float, float], ...]
    tail: float = 2.0
    largest: float = inf
    _starts: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _pieces: tuple[tuple[float, float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.points]
        values = [value for _, value in self.points]
        rising = all(first < second for first, second in pairwise(shares))
        ordered = all(first <= second for first, second in pairwise(values))
        if not shares or not rising or not ordered or shares[0] < 0 or shares[-1] >= 1 or values[0] <= 0:
            raise ValueError(
                f"{self.points} are no quantiles; give (u, x) with rising u in [0, 1) and x above 0."
            )
        slopes = [
            (log(high) - log(low)) / (log1p(-start) - log1p(-end))
            for (start, low), (end, high) in pairwise(self.points)
        ]
        pieces = zip(shares, values, [*slopes, 1 / self.tail], strict=True)
        object.__setattr__(self, "_starts", tuple(shares))
        object.__setattr__(self, "_pieces", tuple((log1p(-u), log(x), slope) for u, x, slope in pieces))

    def value(self, share: float) -> float:
        """The quantile of `share`, 0 <= share < 1."""
        index = bisect_right(self._starts, share) - 1
        if index < 0:
            return 0.0
        remaining, level, slope = self._pieces[index]
        return min(self.largest, exp(level + slope * (remaining - log1p(-share))))

    def mean(self) -> float:
        """The mean, in closed form."""
        return self.mass_above(0.0)

    def mass_above(self, bound: float) -> float:
        """The part of the mean that comes from values of at least `bound`: the integral of x over them."""
        return sum(self._mass(*piece, bound) for piece in self._intervals())

    def scaled(self, factor: float) -> Quantiles:
        """The distribution of `factor` times a value."""
        points = tuple((share, value * factor) for share, value in self.points)
        return Quantiles(points, tail=self.tail, largest=self.largest * factor)

    def _intervals(self) -> Iterator[tuple[float, float, float, float]]:
        """Each piece as (remaining share at its start, at its end, its first value, its slope)."""
        ends = [*(1 - share for share in self._starts[1:]), 0.0]
        for start, end, (_, level, slope) in zip(self._starts, ends, self._pieces, strict=True):
            yield 1 - start, end, exp(level), slope

    def _mass(self, start: float, end: float, first: float, slope: float, bound: float) -> float:
        """The integral of x = first * (v / start) ** -slope over v from `end` to `start`, where x is above `bound`."""

        def reached(value: float) -> float:
            if value <= first:
                return start
            return float(start * (value / first) ** (-1 / slope)) if slope > 0 else 0.0

        upper = min(start, max(end, reached(bound)))
        capped = min(upper, max(end, reached(self.largest)))
        below = _power_integral(first, start, slope, capped, upper)
        return below + (self.largest * (capped - end) if capped > end else 0.0)


def _power_integral(first: float, start: float, slope: float, low: float, high: float) -> float:
    if high <= low:
        return 0.0
    if slope >= 1 and low <= 0:
        return inf
    scale = float(first * start**slope)
    if abs(slope - 1) < 1e-9:
        return scale * log(high / low)
    return float(scale * (high ** (1 - slope) - low ** (1 - slope)) / (1 - slope))
