"""Open arrivals as a shape of Locust: the stages decide when tasks are due, and the number of users is concurrency."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

from locust import LoadTestShape

from harness.load.locust_registry import load_of
from harness.load.schedule import LoadSchedule, Pacing
from harness.load.stages import Stages

_FEWEST = 10
_MOST = 5000
# Users that wait for arrivals cost little: this many seconds of the peak rate may be under way at once.
_SECONDS_UNDER_WAY = 2.0
_SAMPLES = 200
_HORIZON_SECONDS = 60.0
SEED = 20_261_124


class OpenShape(LoadTestShape):
    """A shape whose `stages` are arrivals per second. Subclass it and set the stages.

    `pacing` is one of `LoadSchedule`; the same `seed` gives the same arrival times. `until` ends the load when a
    condition holds, such as "TASK answer p99 > 2s". The number of users grows when due arrivals find no free user, to
    `most_users` at most; --users sets the number at the beginning.
    """

    abstract = True
    use_common_options = True  # --users and --run-time count

    stages: ClassVar[Stages] = ()
    pacing: ClassVar[Pacing] = "poisson"
    seed: ClassVar[int] = SEED
    until: ClassVar[str | None] = None
    most_users: ClassVar[int] = _MOST

    def schedule(self) -> LoadSchedule:
        """The schedule of the stages; raises `UsageError`."""
        return LoadSchedule(stages=self.stages, seed=self.seed, pacing=self.pacing)

    def end(self, limit: float | None) -> float | None:
        """The second at which the load ends, of --run-time (`limit`) by default; its stages may end before."""
        return limit

    def first_users(self) -> int:
        """The number of users at the beginning: enough for the peak rate (of the first minute if there is no end)."""
        schedule = self.schedule()
        seconds = schedule.seconds or _HORIZON_SECONDS
        step = max(1.0, seconds / _SAMPLES)
        samples = [schedule.planned(step * i) for i in range(math.ceil(seconds / step) + 1)]
        peak = max((b - a for a, b in itertools.pairwise(samples)), default=0.0) / step
        return min(self.most_users, max(_FEWEST, math.ceil(peak * _SECONDS_UNDER_WAY)))

    def tick(self) -> tuple[int, float] | None:
        """The number of users, None at the end of the load."""
        assert self.runner is not None, "Locust sets the runner of a shape"
        users = load_of(self.runner.environment).users(self)
        return None if users is None else (users, float(users))
