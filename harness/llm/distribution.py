"""Times and sizes as distributions that two published quantiles describe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Self

from harness.errors import UsageError

# The standard normal deviate of the 99th percentile.
_Z99 = 2.3263478740408408


@dataclass(frozen=True, slots=True)
class LognormalDistribution:
    """The lognormal distribution with the median `p50` and the 99th percentile `p99`; a constant if both are equal."""

    p50: float
    p99: float

    def __post_init__(self) -> None:
        if not 0 <= self.p50 <= self.p99 < math.inf or (self.p50 == 0 < self.p99):
            raise UsageError(
                f"A distribution cannot have the median {self.p50:g} and the 99th percentile {self.p99:g}. Give two "
                "numbers above 0, the smaller one first, or one number of 0 or more for a constant."
            )

    @classmethod
    def of(cls, value: object) -> Self:
        """A distribution from a number (constant), a text `P50..P99`, or a distribution."""
        if isinstance(value, cls):
            return value
        texts = str(value).split("..")
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            numbers = []
        if not numbers or len(numbers) > 2 or isinstance(value, bool):
            raise UsageError(
                f"{str(value)[:40]!r} is no distribution. Give a number, or the median and the 99th percentile as "
                "in 0.4..3."
            )
        return cls(numbers[0], numbers[-1])

    def draw(self, rng: Random) -> float:
        """One value."""
        if self.p50 == self.p99:
            return self.p50
        return rng.lognormvariate(math.log(self.p50), math.log(self.p99 / self.p50) / _Z99)

    def whole(self, rng: Random) -> int:
        """One value as a whole number of 0 or more."""
        return round(self.draw(rng))

    def __str__(self) -> str:
        return f"{self.p50:g}" if self.p50 == self.p99 else f"{self.p50:g}..{self.p99:g}"
