"""Load profiles. Each is bounded in time by `duration` and in number by `max_tasks`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.errors import UsageError
from loadtests.arrivals import Arrivals, Burst, planned
from loadtests.slo import Slo


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The users, arrivals and tasks of a load.

    `users` are spawned at `spawn_rate` per second and distributed over `producers` agentexec clients, as over the
    processes of an API. `duration` is in seconds. A task works between the two times of `work` (seconds) and has a
    payload of `payload` bytes. `workers` times `concurrency` tasks run at once.
    """

    name: str
    summary: str
    users: int
    spawn_rate: float
    arrivals: Arrivals
    duration: float
    work: tuple[float, float]
    payload: int = 512
    producers: int = 2
    workers: int = 2
    concurrency: int = 8
    max_tasks: int = 20_000
    seed: int = 20_261_124
    slo: Slo = field(default_factory=Slo)

    def planned_in(self, seconds: float) -> float:
        """The planned number of tasks in the first `seconds`."""
        total = planned(self.arrivals, users=self.users, spawn_rate=self.spawn_rate, duration=seconds)
        return min(total, self.max_tasks)


SMOKE = Profile(
    name="smoke",
    summary="40 short tasks a second, evenly spaced, as a quick check of all parts together",
    users=20,
    spawn_rate=20,
    arrivals=Arrivals(rate=2),
    duration=20,
    work=(0.01, 0.03),
    max_tasks=5_000,
)
STEADY = Profile(
    name="steady",
    summary="100 tasks a second that arrive at random (Poisson), for a minute",
    users=50,
    spawn_rate=50,
    arrivals=Arrivals(rate=2, pacing="poisson"),
    duration=60,
    work=(0.02, 0.1),
    concurrency=16,
)
BURST = Profile(
    name="burst",
    summary="20 tasks a second, and 200 a second in 2 of every 10 seconds, like the requests of agents",
    users=20,
    spawn_rate=20,
    arrivals=Arrivals(rate=1, pacing="poisson", burst=Burst(every=10, length=2, factor=10)),
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
