"""Load profiles: the arrivals of a load and its tasks. Each is bounded in time by `duration`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.errors import UsageError
from harness.load.schedule import LoadSchedule, Pacing
from harness.load.stages import Stage, burst, hold
from loadtests.slo import Slo


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The arrivals and tasks of a load.

    Each of `users` stands for `rate` tasks a second, and for `peak` in the first 2 of every 10 seconds, None for no
    bursts. `duration` is in seconds. A task works between the two times of `work` (seconds) and has a payload of
    `payload` bytes. `workers` times `concurrency` tasks run at once.
    """

    name: str
    summary: str
    users: int
    rate: float
    duration: float
    work: tuple[float, float]
    peak: float | None = None
    pacing: Pacing = "poisson"
    payload: int = 512
    producers: int = 2
    workers: int = 2
    concurrency: int = 8
    seed: int = 20_261_124
    slo: Slo = field(default_factory=Slo)

    @property
    def stage(self) -> Stage:
        """The arrivals as a stage without an end."""
        if self.peak is None:
            return hold(self.users * self.rate)
        return burst(self.users * self.rate, self.users * self.peak)

    def planned_in(self, seconds: float) -> float:
        """The planned number of tasks in the first `seconds`."""
        return LoadSchedule(stages=self.stage).planned(seconds)


SMOKE = Profile(
    name="smoke",
    summary="40 short tasks a second, evenly spaced, as a quick check of all parts together",
    users=20,
    rate=2,
    pacing="even",
    duration=20,
    work=(0.01, 0.03),
)
STEADY = Profile(
    name="steady",
    summary="100 tasks a second that arrive at random (Poisson), for a minute",
    users=50,
    rate=2,
    duration=60,
    work=(0.02, 0.1),
    concurrency=16,
)
BURST = Profile(
    name="burst",
    summary="20 tasks a second, and 200 a second in 2 of every 10 seconds, like the requests of agents",
    users=20,
    rate=1,
    peak=10,
    duration=40,
    work=(0.02, 0.1),
    concurrency=16,
    slo=Slo(enqueue_p95_ms=2000, end_to_end_p95_ms=10_000),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({each.name: each for each in (SMOKE, STEADY, BURST)})


def profile(name: str) -> Profile:
    """The profile of this name; raises `UsageError` that lists the known names."""
    try:
        return PROFILES[name]
    except KeyError:
        raise UsageError(
            f"There is no load profile {name!r}. Choose one of: {', '.join(PROFILES)}."
        ) from None
