"""What a page of a load draws: the series in few slices, with the stages and the faults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.load.schedule import PlacedStage
from harness.load.series import LoadSeries, TimeSlice, bucket_end
from harness.report.picture_data import FaultRow
from harness.report.scales import DASH, seconds_text

MOST_COLUMNS = 240
"""The most slices of time in a picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadTime:
    """What happened when: the joined slices of a series, each of `width` seconds, its stages and its faults."""

    seconds: float
    width: int
    slices: Mapping[int, TimeSlice]
    stages: Sequence[PlacedStage] = ()
    faults: Sequence[FaultRow] = ()

    @classmethod
    def of(
        cls,
        series: LoadSeries,
        seconds: float,
        *,
        stages: Sequence[PlacedStage] = (),
        faults: Sequence[FaultRow] = (),
    ) -> LoadTime:
        """The series in at most `MOST_COLUMNS` slices, up to its last one if that is later than `seconds`."""
        last = max(((number + 1) * series.width for number in series.slices), default=1)
        end = max(seconds, last, 1)
        factor = math.ceil(end / series.width / MOST_COLUMNS)
        joined: dict[int, TimeSlice] = {}
        for number, one in series.slices.items():
            joined.setdefault(number // factor, TimeSlice()).join(one)
        return cls(seconds=end, width=series.width * factor, slices=joined, stages=stages, faults=faults)

    @property
    def columns(self) -> int:
        """The number of slices from the start to the end."""
        return math.ceil(self.seconds / self.width)

    def rate(self, name: str) -> list[float]:
        """Events per second in each slice."""
        return [self._slice(i).counts[name] / self.width for i in range(self.columns)]

    def gauge(self, name: str) -> list[float | None]:
        """The highest value in each slice, None if there is none."""
        return [self._slice(i).gauges.get(name) for i in range(self.columns)]

    def quantile(self, share: float, stage: str | None = None) -> list[float | None]:
        """The quantile of the latencies by their intended time, or of a part of them, to the end of its bucket."""
        slices = [self._slice(i) for i in range(self.columns)]
        return [
            bucket_quantile(one.latencies if stage is None else one.stages.get(stage, {}), share)
            for one in slices
        ]

    def within(self, begin: float, end: float) -> TimeSlice:
        """All slices that begin in a part of the load as one."""
        found = TimeSlice()
        for number, one in self.slices.items():
            if begin <= number * self.width < end:
                found.join(one)
        return found

    def names(self) -> list[str]:
        """The names of all gauges, in alphabetical order."""
        return sorted({name for one in self.slices.values() for name in one.gauges})

    def _slice(self, number: int) -> TimeSlice:
        return self.slices.get(number, _EMPTY)


_EMPTY = TimeSlice()


def bucket_quantile(latencies: Mapping[int, int], share: float) -> float | None:
    """The end of the bucket with the nearest-rank quantile; None if there is no latency."""
    total = sum(latencies.values())
    left = max(math.ceil(share * total), 1)
    for bucket, count in sorted(latencies.items()):
        left -= count
        if left <= 0:
            return bucket_end(bucket)
    return None


def latency_text(value: float | None) -> str:
    """A latency for people: "never" if infinite, microseconds if it is short."""
    if value is None:
        return DASH
    if math.isinf(value):
        return "never"
    if value < 0.0005:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1000:.3g} ms" if value < 0.1 else seconds_text(value)
