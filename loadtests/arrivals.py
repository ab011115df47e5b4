"""When tasks are meant to arrive: seeded, pure, and independent of how fast the system answers.

Every user has a schedule of its own on one clock, the seconds since the test began. A user that is late for an arrival
catches up instead of skipping it, and latency counts from the intended time, so a system that stalls cannot hide its
stall by slowing the generator down (what is known as coordinated omission).
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
    """In the first `length` of every `every` seconds, tasks arrive `factor` times as often."""

    every: float
    length: float
    factor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrivals:
    """Tasks of one user: `rate` a second outside of bursts, evenly spaced or as a Poisson process."""

    rate: float
    pacing: Pacing = "even"
    burst: Burst | None = None

    def times(self, *, seed: int, user: int) -> Iterator[float]:
        """The intended times of user number `user`, without end; users start at different points of their rhythm."""
        # Seeded by text: tuples are hashed, and hashes differ between processes.
        randomness = random.Random(f"{seed}/{user}")  # noqa: S311 - a repeatable schedule, no secret
        count = randomness.random() if self.pacing == "even" else randomness.expovariate(1)
        while True:
            yield self.time_of(count)
            count += 1 if self.pacing == "even" else randomness.expovariate(1)

    def expected(self, until: float) -> float:
        """How many arrivals a user has on average in the first `until` seconds."""
        if self.burst is None:
            return self.rate * until
        cycles, rest = divmod(until, self.burst.every)
        loud = min(rest, self.burst.length)
        return cycles * self._per_cycle(self.burst) + self.rate * (loud * self.burst.factor + rest - loud)

    def time_of(self, count: float) -> float:
        """The inverse of `expected`: when the average number of arrivals reaches `count`."""
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
    """When Locust starts user number `user`: it spawns in batches of as many as fit into a second."""
    batch = max(1, math.floor(spawn_rate))
    return user // batch * batch / spawn_rate


def planned(arrivals: Arrivals, *, users: int, spawn_rate: float, duration: float) -> float:
    """How many tasks are meant to arrive in `duration` seconds, counting each user from its start."""
    starts = (min(start_of(user, spawn_rate), duration) for user in range(users))
    return sum(arrivals.expected(duration) - arrivals.expected(start) for start in starts)
