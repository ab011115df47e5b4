"""The intended times of all arrivals of a load: a pure function of its stages, its pacing and its seed.

Arrivals do not wait for the system (an open model). Processes share a schedule: each computes all of it and takes the
numbers that are its own, so that all of them together have exactly the arrivals of a single process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from harness.draws import seeded
from harness.errors import UsageError
from harness.load.agents.arrivals import ARRIVALS
from harness.load.stages import Stage, Stages, endless, flattened
from harness.load.traces import Size

Pacing = Literal["even", "poisson", "azure-chat", "azure-code", "burstgpt"]
# The seconds from the begin of a load whose mean rate is that of a pattern's bursts.
_RATE_SECONDS = 60.0


class PlannedArrival(NamedTuple):
    """One arrival: `intended` is in seconds since the start, `stage` is the index of its stage.

    `size` and `task` are those of the trace if the stage replays one that has them.
    """

    number: int
    intended: float
    stage: int
    size: Size | None = None
    task: str | None = None


class PlacedStage(NamedTuple):
    """A stage with its place in the load, from 0, and with the second at which it begins."""

    place: int
    begin: float
    stage: Stage

    @property
    def end(self) -> float:
        """The second at which it ends, infinite if it has no end."""
        return math.inf if self.stage.seconds is None else self.begin + self.stage.seconds


@dataclass(frozen=True, kw_only=True)
class LoadSchedule:
    """The arrivals of `stages`, at their rates.

    `pacing` is "even" (equal distances), "poisson" (a Poisson process), or the name of a pattern of published traces in
    `harness.load.agents.ARRIVALS`. A pattern with bursts of some seconds has them at the mean rate of the first minute.
    """

    stages: Stages
    seed: int = 0
    pacing: Pacing = "poisson"

    def __post_init__(self) -> None:
        if self.pacing not in get_args(Pacing):
            known = ", ".join(map(repr, get_args(Pacing)))
            raise UsageError(f"The pacing cannot be {self.pacing!r}; choose one of {known}.")
        endless(self.stages)
        if next(flattened(self.stages), None) is None:
            raise UsageError("A load needs at least one stage; give for example hold(20, '1m').")

    @property
    def seconds(self) -> float | None:
        """The length of the load, None if it has no end."""
        if endless(self.stages):
            return None
        return sum(stage.seconds or 0.0 for stage in flattened(self.stages))

    def placed(self) -> Iterator[PlacedStage]:
        """The stages with their begin; without end if the load has none."""
        begin = 0.0
        for index, stage in enumerate(flattened(self.stages)):
            yield PlacedStage(index, begin, stage)
            begin += stage.seconds or 0.0

    def planned(self, until: float) -> float:
        """The planned number of arrivals in the first `until` seconds."""
        found = 0.0
        for place in self.placed():
            if place.begin > until:
                break
            found += place.stage.expected(until - place.begin)
        return found

    def arrivals(self, shard: int = 0, shards: int = 1) -> Iterator[PlannedArrival]:
        """The arrivals with the numbers of one of `shards` processes, in the order of their times."""
        if not 0 <= shard < shards:
            raise UsageError(f"There is no process {shard} of {shards}; count from 0 to {shards - 1}.")
        return (arrival for arrival in self._all() if arrival.number % shards == shard)

    def _all(self) -> Iterator[PlannedArrival]:
        distance = self._distances()
        number, left, latest = 0, next(distance), 0.0
        for index, begin, stage in self.placed():
            rows = stage.rows()
            if rows is not None:
                for row in rows:
                    yield PlannedArrival(number, begin + row.offset, index, row.size, row.task)
                    number += 1
                continue
            total = stage.total
            while left <= total:
                # Rounding must not let an arrival overtake the one before it.
                latest = max(latest, begin + stage.time_of(left))
                yield PlannedArrival(number, latest, index)
                number += 1
                left += next(distance)
            left -= total

    def _distances(self) -> Iterator[float]:
        """The distances of a unit process: the stages stretch them by their rate."""
        if self.pacing == "even":
            yield 0.5
            while True:
                yield 1.0
        if self.pacing in ARRIVALS:
            until = min(_RATE_SECONDS, self.seconds or _RATE_SECONDS)
            yield from ARRIVALS[self.pacing].distances(self.planned(until) / until or 1.0, self.seed)
        draw = seeded(self.seed).expovariate
        while True:
            yield draw(1.0)
