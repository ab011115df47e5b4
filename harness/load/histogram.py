"""Latencies of any number of requests in little memory, with any percentile, mergeable over processes.

An HdrHistogram keeps the values from 1 microsecond to 1 hour to three significant digits. Values above that are
counted apart, and so are requests that never completed: these count as infinite, at the end of every order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Self

from hdrh.histogram import HdrHistogram

from harness.errors import HarnessError

LOWEST_US = 1
HIGHEST_US = 3_600_000_000
DIGITS = 3
_MICRO = 1_000_000


class LatencyHistogram:
    """Times in seconds. `never` of them are infinite, `above` are longer than an hour, `below` were negative."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        self._sum_us = 0
        self._least_us: int | None = None
        self._most_us: int | None = None
        self.never = 0
        self.above = 0
        self.below = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The histogram of these times in seconds."""
        found = cls()
        for value in values:
            found.record(value)
        return found

    def record(self, seconds: float, count: int = 1) -> None:
        """Count a time; infinity is a request that never completed, a negative time counts as 0 and as `below`."""
        if math.isnan(seconds):
            raise ValueError("a latency is not a number; record math.inf for a request that never completed")
        if seconds == math.inf:
            self.never += count
            return
        if seconds < 0:
            self.below += count
        # The width of a value grows with it, so the least and the most are kept beside the histogram.
        value = max(0, round(seconds * _MICRO))
        self._sum_us += value * count
        self._least_us = value if self._least_us is None else min(value, self._least_us)
        self._most_us = value if self._most_us is None else max(value, self._most_us)
        if value > HIGHEST_US:
            self.above += count
        else:
            self._histogram.record_value(value, count)

    @property
    def count(self) -> int:
        """All values, with those that are infinite."""
        return self.completed + self.never

    @property
    def completed(self) -> int:
        """All values that are not infinite."""
        return int(self._histogram.total_count) + self.above

    @property
    def least(self) -> float | None:
        """The least value in seconds, None if there is no value."""
        if self._least_us is None:
            return math.inf if self.never else None
        return self._least_us / _MICRO

    @property
    def most(self) -> float | None:
        """The greatest value in seconds: infinite if a request never completed, None if there is no value."""
        if self.never:
            return math.inf
        return None if self._most_us is None else self._most_us / _MICRO

    @property
    def mean(self) -> float | None:
        """The mean in seconds: infinite if a request never completed, None if there is no value."""
        if self.never:
            return math.inf
        return self._sum_us / _MICRO / self.completed if self.completed else None

    def quantile(self, percentile: float) -> float | None:
        """The nearest-rank percentile (from 0 to 100) in seconds, None if there is no value."""
        return self.quantiles([percentile])[0]

    def quantiles(self, percentiles: Iterable[float]) -> list[float | None]:
        """Several percentiles in one pass, in the order of the argument."""
        wanted = list(percentiles)
        if not all(0 <= one <= 100 for one in wanted):
            raise ValueError("a percentile is not from 0 to 100; give for example 99.9")
        if not self.count:
            return [None] * len(wanted)
        ranks = {one: self._rank(one) for one in wanted}
        found: dict[int, float] = {}
        pending = sorted(set(ranks.values()), reverse=True)
        for upper_us, reached in self._reached():
            while pending and pending[-1] <= reached:
                found[pending.pop()] = upper_us / _MICRO
        return [found[ranks[one]] for one in wanted]

    def _rank(self, percentile: float) -> int:
        # As a fraction of its text: 0.999 * 1000 is above 999 as a float.
        return max(math.ceil(Fraction(str(percentile)) * self.count / 100), 1)

    def _reached(self) -> Iterator[tuple[float, int]]:
        """The recorded values (the upper end of each) with the number of values up to them, in ascending order."""
        total = 0
        most = self._most_us or 0
        # Not by the library's iterators, which visit each of the 23,000 counters in Python.
        for index, count in enumerate(self._histogram.counts):
            if count:
                total += count
                value = self._histogram.get_value_from_index(index)
                yield min(self._histogram.get_highest_equivalent_value(value), most), total
        if self.above:
            total += self.above
            yield most, total
        yield math.inf, total + self.never

    def merge(self, other: LatencyHistogram) -> None:
        """Add the values of another histogram."""
        self._histogram.add(other._histogram)
        self._sum_us += other._sum_us
        least = [one for one in (self._least_us, other._least_us) if one is not None]
        most = [one for one in (self._most_us, other._most_us) if one is not None]
        self._least_us, self._most_us = min(least, default=None), max(most, default=None)
        self.never += other.never
        self.above += other.above
        self.below += other.below

    def to_value(self) -> dict[str, Any]:
        """As JSON, for messages between processes: the counters in the compressed text form of HdrHistogram."""
        return {
            "hdr": self._histogram.encode().decode("ascii"),
            "sum_us": self._sum_us,
            "least_us": self._least_us,
            "most_us": self._most_us,
            "never": self.never,
            "above": self.above,
            "below": self.below,
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """The histogram that `to_value` gave; raises `HarnessError` if it is none."""
        found = cls()
        try:
            found._histogram.decode_and_add(value["hdr"])
            found._sum_us = int(value["sum_us"])
            found._least_us, found._most_us = value["least_us"], value["most_us"]
            found.never, found.above, found.below = (int(value[key]) for key in ("never", "above", "below"))
        except Exception as error:  # noqa: BLE001 - the library raises its own types, zlib's, ctypes' and assertions
            raise HarnessError(
                f"A message has no latencies that can be read ({type(error).__name__}); "
                "run the same version in all load processes."
            ) from None
        return found
