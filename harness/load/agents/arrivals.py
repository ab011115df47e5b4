"""How bursty requests arrive, by published traces: Gamma inter-arrival times and on/off bursts.

The hours of a day are a stage of a load, not part of a pattern.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from types import MappingProxyType

from harness.draws import seeded


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrivalPattern:
    """Arrivals at a mean rate that vary in two ways; the plain value is a Poisson process.

    `cv` is the coefficient of variation of the inter-arrival times, which have a Gamma distribution (1: exponential).
    `peak` > 1 adds bursts: the rate is `peak` times the mean in the share `on` of the time, in bursts of
    `burst_seconds` on average, and lower between them, so that the mean stays. Raises `ValueError` for values
    without such a process.
    """

    name: str
    source: str
    cv: float = 1.0
    peak: float = 1.0
    on: float = 0.5
    burst_seconds: float = 1.0

    def __post_init__(self) -> None:
        bursts = self.peak == 1 or (self.peak > 1 and 0 < self.on <= 1 / self.peak and self.burst_seconds > 0)
        if self.cv <= 0 or not bursts:
            raise ValueError(
                f"{self.name} is no arrival pattern; give cv > 0, peak >= 1, 0 < on <= 1 / peak, burst_seconds > 0."
            )

    def times(self, rate: float, seed: int) -> Iterator[float]:
        """The arrivals in seconds from the start, without end, `rate` a second on average; a function of `seed`.

        Each distance is a Gamma distributed number of expected arrivals, so a burst shortens the distances in it, also
        one that begins before.
        """
        draw = seeded(seed, "arrivals", self.name)
        shape = 1 / self.cv**2
        distances = (draw.gammavariate(shape, self.cv**2) for _ in count())
        if self.peak > 1:
            return self._in_bursts(distances, rate, seed)
        return accumulate(distance / rate for distance in distances)

    def distances(self, rate: float, seed: int) -> Iterator[float]:
        """The same as distances in expected arrivals, 1 on average: a schedule stretches them by its own rate."""
        return ((second - first) * rate for first, second in pairwise(_from_zero(self.times(rate, seed))))

    def _in_bursts(self, distances: Iterator[float], rate: float, seed: int) -> Iterator[float]:
        begin, expected, position = 0.0, 0.0, next(distances)
        for seconds, level in self._levels(seed):
            while position <= expected + seconds * rate * level:
                yield begin + (position - expected) / (rate * level)
                position += next(distances)
            begin, expected = begin + seconds, expected + seconds * rate * level

    def _levels(self, seed: int) -> Iterator[tuple[float, float]]:
        """Intervals as (seconds, rate in units of the mean), in turn between two bursts and in a burst."""
        draw = seeded(seed, "bursts", self.name)
        quiet = (1 - self.on * self.peak) / (1 - self.on)
        pause_seconds = self.burst_seconds * (1 - self.on) / self.on
        while True:
            yield draw.expovariate(1 / pause_seconds), quiet
            yield draw.expovariate(1 / self.burst_seconds), self.peak


def _from_zero(times: Iterator[float]) -> Iterator[float]:
    yield 0.0
    yield from times


ARRIVALS: Mapping[str, ArrivalPattern] = MappingProxyType(
    {
        pattern.name: pattern
        for pattern in (
            ArrivalPattern(
                name="azure-chat",
                source="Azure 2023 conversation: 19,366 requests, coefficient of variation 1.09",
                cv=1.09,
            ),
            ArrivalPattern(
                name="azure-code",
                source="Azure 2023 code: 8,819 requests in 57 minutes, 67 in the fullest second, mean 2.6 (on/off)",
                peak=18.0,
                on=0.04,
                burst_seconds=1.5,
            ),
            ArrivalPattern(
                name="burstgpt",
                source="BurstGPT: Gamma inter-arrival times (the coefficient of variation is assumed)",
                cv=2.0,
            ),
        )
    }
)
