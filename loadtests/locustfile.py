"""The profiles as a locustfile: `locust -f loadtests/locustfile.py --load-profile smoke`, on a pool that runs.

The pool is `agentexec worker loadtests.app:pool`. `python -m loadtests.run` starts it, the servers and Locust.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import locust

from harness.draws import seeded
from harness.load import OpenShape, QueueUser
from harness.load.schedule import LoadSchedule
from loadtests.profiles import PROFILES, Profile, profile
from loadtests.work import TASK_NAME, Work


def _options(parser: Any) -> None:
    parser.add_argument(
        "--load-profile", choices=tuple(PROFILES), default="smoke", help="arrivals and work of the tasks"
    )
    parser.add_argument(
        "--load-users", type=int, help="the factor of the rate, instead of the profile's users"
    )


class Requests(QueueUser):
    """Enqueues the tasks of the profile."""

    @locust.task
    def work(self) -> None:
        """Enqueue one task, whose work depends on the number of its arrival only."""
        chosen, arrival = profile(self.environment.parsed_options.load_profile), self.arrival
        number = 0 if arrival is None else arrival.number
        randomness = seeded("work", chosen.seed, number)
        self.enqueue(TASK_NAME, Work(seconds=randomness.uniform(*chosen.work), padding="x" * chosen.payload))


class ProfileShape(OpenShape):
    """The arrivals of the profile; --run-time ends them, otherwise the duration of the profile."""

    def schedule(self) -> LoadSchedule:
        """The schedule of the profile, without an end."""
        chosen = self._profile()
        return LoadSchedule(stages=chosen.stage, seed=chosen.seed, pacing=chosen.pacing)

    def end(self, limit: float | None) -> float | None:
        """The end of --run-time, or that of the profile."""
        return self._profile().duration if limit is None else limit

    def _profile(self) -> Profile:
        assert self.runner is not None, "Locust sets the runner of a shape"
        options: Any = self.runner.environment.parsed_options
        chosen = profile(options.load_profile)
        return replace(chosen, users=options.load_users) if options.load_users else chosen


# Locust's events are untyped.
events: Any = locust.events
events.init_command_line_parser.add_listener(_options)
