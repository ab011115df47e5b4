"""A load over time: counts, gauges and latencies per slice of time, in bounded memory, mergeable over processes.

A slice is one second. If a run has more than `MOST_SLICES`, neighbours are joined, so a slice becomes two seconds, then
four, and so on: a soak of days fits into the same memory as a test of minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from harness.errors import HarnessError

MOST_SLICES = 1800
PER_DOUBLING = 4
"""Buckets of latency within a factor of two."""
NEVER_BUCKET = 10_000
"""The bucket of requests that never completed."""

_LEAST_SECONDS = 0.001


@dataclass(slots=True)
class TimeSlice:
    """One slice.

    `counts` are events (planned, due, sent, late, dropped, acknowledged, completed, failed). `gauges` are the highest
    values seen, such as the queue depth. `latencies` count the tasks that were due in this slice by `bucket_of` their
    latency; `stages` count the parts of such a latency in the same way, by the name of the part.
    """

    counts: Counter[str] = field(default_factory=Counter)
    gauges: dict[str, float] = field(default_factory=dict)
    latencies: Counter[int] = field(default_factory=Counter)
    stages: dict[str, Counter[int]] = field(default_factory=dict)

    def join(self, other: TimeSlice) -> None:
        """Add another slice: counts are added, of gauges the higher one stays."""
        self.counts.update(other.counts)
        self.latencies.update(other.latencies)
        for name, buckets in other.stages.items():
            self.stages.setdefault(name, Counter()).update(buckets)
        for name, value in other.gauges.items():
            self.gauges[name] = max(value, self.gauges.get(name, value))


class LoadSeries:
    """The slices of a load by their number. `width` is the length of each in seconds, a power of two."""

    def __init__(self) -> None:
        self.width = 1
        self.slices: dict[int, TimeSlice] = {}

    def count(self, second: float, name: str, number: int = 1) -> None:
        """Count events at a second since the start of the load."""
        self._at(second).counts[name] += number

    def gauge(self, second: float, name: str, value: float) -> None:
        """Note a value that was seen at a second."""
        one = self._at(second)
        one.gauges[name] = max(value, one.gauges.get(name, value))

    def latency(self, intended: float, seconds: float, count: int = 1) -> None:
        """Count a task that was intended at a second, with its latency, infinite if it never completed."""
        self._at(intended).latencies[bucket_of(seconds)] += count

    def stage(self, intended: float, name: str, seconds: float) -> None:
        """Count how long a part of a task took that was intended at a second."""
        stages = self._at(intended).stages
        if name not in stages:
            stages[name] = Counter()
        stages[name][bucket_of(seconds)] += 1

    def merge(self, other: LoadSeries) -> None:
        """Add the slices of another process."""
        self._widen(other.width)
        for number, one in other.slices.items():
            self._at(number * other.width).join(one)

    def to_value(self) -> dict[str, Any]:
        """As JSON, for messages between processes and for the page: one list of slices, in the order of time."""
        slices = [
            {
                "at": number * self.width,
                "counts": dict(one.counts),
                "gauges": one.gauges,
                "latencies": _buckets_value(one.latencies),
                "stages": {name: _buckets_value(buckets) for name, buckets in one.stages.items()},
            }
            for number, one in sorted(self.slices.items())
        ]
        return {"width": self.width, "slices": slices}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """The series that `to_value` gave; raises `HarnessError` if it is none."""
        found = cls()
        try:
            found._widen(int(value["width"]))
            for one in value["slices"]:
                found.slices[int(one["at"]) // found.width] = TimeSlice(
                    Counter(one["counts"]),
                    dict(one["gauges"]),
                    _buckets_of(one["latencies"]),
                    {name: _buckets_of(buckets) for name, buckets in one.get("stages", {}).items()},
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HarnessError(
                f"A message has no series that can be read ({type(error).__name__}); "
                "run the same version in all load processes."
            ) from None
        return found

    def _at(self, second: float) -> TimeSlice:
        number = max(int(second // self.width), 0)
        while number >= MOST_SLICES:
            self._widen(self.width * 2)
            number = max(int(second // self.width), 0)
        found = self.slices.get(number)
        if found is None:
            found = self.slices[number] = TimeSlice()
        return found

    def _widen(self, width: int) -> None:
        while self.width < width:
            joined: dict[int, TimeSlice] = {}
            for number, one in self.slices.items():
                joined.setdefault(number // 2, TimeSlice()).join(one)
            self.width, self.slices = self.width * 2, joined


def _buckets_value(buckets: Mapping[int, int]) -> dict[str, int]:
    return {str(bucket): count for bucket, count in sorted(buckets.items())}


def _buckets_of(value: Mapping[str, int]) -> Counter[int]:
    return Counter({int(bucket): count for bucket, count in value.items()})


def bucket_of(seconds: float) -> int:
    """The bucket of a latency: 0 is up to a millisecond, each further one begins a quarter of a doubling later."""
    if seconds == math.inf:
        return NEVER_BUCKET
    return max(0, math.ceil(math.log2(max(seconds, _LEAST_SECONDS) / _LEAST_SECONDS) * PER_DOUBLING))


def bucket_end(bucket: int) -> float:
    """The longest latency of a bucket in seconds, infinite for `NEVER_BUCKET`."""
    return math.inf if bucket == NEVER_BUCKET else float(_LEAST_SECONDS * 2 ** (bucket / PER_DOUBLING))
