"""The intended arrival times of tasks: seeded, pure functions that do not depend on the system's response times.

Every user has its own schedule in seconds since the start of the test. A late user catches up instead of skipping an
arrival, and latency counts from the intended time. A stalled system therefore cannot hide its stall by slowing the
generator down (coordinated omission).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Pacing = Literal["even", "poisson"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """In the first `length` seconds of every `every` seconds, the rate is `factor` times as high."""

    every: float
    length: float
    factor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrivals:
    """The arrivals of one user: `rate` per second outside of bursts, evenly spaced or as a Poisson process."""

    rate: float
    pacing: Pacing = "even"
    burst: Burst | None = None

    def times(self, *, seed: int, user: int) -> Iterator[float]:
        """The endless intended times of one user; users start at different phases."""
        # A string as seed: the hash of a tuple differs between processes.
        randomness = random.Random(f"{seed}/{user}")  # noqa: S311 - a repeatable schedule, no secret
        count = randomness.random() if self.pacing == "even" else randomness.expovariate(1)
        while True:
            yield self.time_of(count)
            count += 1 if self.pacing == "even" else randomness.expovariate(1)

    def expected(self, until: float) -> float:
        """The average number of arrivals of a user in the first `until` seconds."""
        if self.burst is None:
            return self.rate * until
        cycles, rest = divmod(until, self.burst.every)
        loud = min(rest, self.burst.length)
        return cycles * self._per_cycle(self.burst) + self.rate * (loud * self.burst.factor + rest - loud)

    def time_of(self, count: float) -> float:
        """The inverse of `expected`: the time at which the average number of arrivals reaches `count`."""
        if self.burst is None:
            return count / self.rate
        cycles, rest = divmod(count, self._per_cycle(self.burst))
        loud_rate = self.rate * self.burst.factor
        loud = self.burst.length * loud_rate
        within = rest / loud_rate if rest < loud else self.burst.length + (rest - loud) / self.rate
        return cycles * self.burst.every + within

    def _per_cycle(self, burst: Burst) -> float:
        return self.rate * (burst.length * burst.factor + burst.every - burst.length)


def start_of(user: int, spawn_rate: float) -> float:
    """When Locust starts a user: it spawns one batch per second."""
    batch = max(1, math.floor(spawn_rate))
    return user // batch * batch / spawn_rate


def planned(arrivals: Arrivals, *, users: int, spawn_rate: float, duration: float) -> float:
    """How many tasks arrive in `duration` seconds by plan, counting each user from its start."""
    starts = (min(start_of(user, spawn_rate), duration) for user in range(users))
    return sum(arrivals.expected(duration) - arrivals.expected(start) for start in starts)
