"""The schedule of a run: everything that the seed decides, drawn before any process starts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from harness.draws import seeded
from harness.errors import UsageError
from harness.faults.base import Fault, PlannedFault
from harness.history.figures import counted
from harness.scenario.scenario import Scenario
from harness.workloads.generator import GATE, Arrival, times


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The tasks and faults of a run with their times; `final` are the tasks after every fault is healed."""

    arrivals: tuple[Arrival, ...]
    faults: tuple[PlannedFault, ...]
    final: tuple[Arrival, ...]

    @classmethod
    def of(cls, scenario: Scenario, *, seed: int, tasks: int, faults: Collection[int] | None = None) -> Self:
        """Draw the schedule; `faults` are the numbers of those that it keeps, at their own moments (None: all).

        Raises `UsageError` if there are too few tasks for the scenario's faults, or no fault has such a number.
        """
        generator = scenario.workload.generator
        count = len(list(generator(seed=seed, tasks=tasks, gated=())))
        kept = kept_faults(scenario.faults, faults)
        gated = gated_numbers(scenario.faults, count) & gated_numbers(
            [scenario.faults[n - 1] for n in kept], count
        )
        arrivals = tuple(generator(seed=seed, tasks=tasks, gated=gated))
        planned = plan_faults(scenario.faults, seed=seed, due=times(arrivals))
        return cls(
            arrivals=arrivals,
            faults=tuple(fault for fault in planned if fault.number in kept),
            final=tuple(scenario.workload.final_generator(seed=seed, tasks=tasks)),
        )


def kept_faults(faults: Sequence[Fault], numbers: Collection[int] | None) -> list[int]:
    """The numbers of the faults that a run keeps (None: of all); raises `UsageError` if there is no such fault."""
    known = range(1, len(faults) + 1)
    if unknown := sorted(set(numbers or ()) - set(known)):
        raise UsageError(
            f"There is no fault {unknown[0]}: the scenario has {counted(len(faults), 'fault')}. See --dry-run."
        )
    return [number for number in known if numbers is None or number in numbers]


def gated_numbers(faults: Sequence[Fault], tasks: int) -> frozenset[int]:
    """Numbers of the tasks that wait at a gate, out of `tasks` that are submitted while faults are injected.

    Faults at the same place strike the same task. Raises `UsageError` if there are too few tasks for the faults.
    """
    places = {fault.at for fault in faults if fault.gated}
    numbers = {fault.at: _number(fault, tasks) for fault in faults if fault.gated}.values()
    if len(set(numbers)) < len(places):
        raise UsageError(
            f"{counted(tasks, 'task', 'are')} too few for the {counted(len(faults), 'fault')} of this scenario. "
            "Request more, for example with --tasks 200, or by a longer --load."
        )
    return frozenset(numbers)


def plan_faults(faults: Sequence[Fault], *, seed: int, due: Sequence[float]) -> tuple[PlannedFault, ...]:
    """Draw everything random about the faults; `due` is when each task is submitted, in seconds.

    A fault at a random moment strikes between its own place and that of the next fault (or the end). This keeps the
    order of the faults.
    """
    draw = seeded(seed, "faults")
    planned = []
    for index, fault in enumerate(faults):
        luck, victim = draw.random(), draw.random()
        later = faults[index + 1].at if index + 1 < len(faults) else 1.0
        start, end = _due(fault.at, due), _due(max(fault.at, later), due)
        task = _number(fault, len(due))
        planned.append(
            PlannedFault(
                number=index + 1,
                fault=fault,
                gate=GATE.format(number=task),
                moment=None if fault.gated else start + luck * (end - start),
                draw=victim,
                due=due[task - 1],
            )
        )
    return tuple(planned)


def _number(fault: Fault, tasks: int) -> int:
    return min(tasks, int(fault.at * tasks) + 1)


def _due(at: float, due: Sequence[float]) -> float:
    return due[min(len(due) - 1, int(at * len(due)))]
