"""Everything that the seed decides about a run, known before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from harness.faults.base import PlannedFault, gated_numbers, plan
from harness.scenario import Scenario
from harness.workloads.generator import Arrival, times


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Which tasks come when, which faults strike when, and which tasks come after everything is healed."""

    arrivals: tuple[Arrival, ...]
    faults: tuple[PlannedFault, ...]
    final: tuple[Arrival, ...]

    @classmethod
    def of(cls, scenario: Scenario, *, seed: int, tasks: int) -> Self:
        """Draw it; raises `UsageError` where there are too few tasks for the scenario's faults."""
        generator = scenario.workload.generator
        count = len(list(generator(seed=seed, tasks=tasks, gated=())))
        gated = gated_numbers(scenario.faults, count)
        arrivals = tuple(generator(seed=seed, tasks=tasks, gated=gated))
        return cls(
            arrivals=arrivals,
            faults=plan(scenario.faults, seed=seed, due=times(arrivals)),
            final=tuple(scenario.workload.final_generator(seed=seed, tasks=tasks)),
        )
