"""Task streams as pure functions of a seed: the same seed gives the same tasks at the same times.

Arrivals follow an open model (Poisson): they do not depend on the responses of the system, so a slow system does not
slow the client down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from harness.draws import seeded
from harness.targets.base import TaskSpec

GATE = "task-{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A task and its delay in seconds after the previous one."""

    delay: float
    task: TaskSpec


def numbered_tasks(
    *, seed: int, tasks: int, rate: float, work: tuple[float, float], gated: Collection[int] = ()
) -> Iterator[Arrival]:
    """Tasks 1 to `tasks`, on average `rate` a second; each works between the two times of `work` (seconds).

    A task whose number is in `gated` waits at its own gate once it has begun. `gated` does not influence the times.
    """
    draw = seeded(seed, "numbered-tasks")
    for number in range(1, tasks + 1):
        delay, seconds = draw.expovariate(rate), draw.uniform(*work)
        gate = GATE.format(number=number) if number in gated else None
        yield Arrival(delay=delay, task=TaskSpec(number=number, work=seconds, gate=gate))


def times(arrivals: Iterable[Arrival]) -> list[float]:
    """When each task is due, in seconds since the start."""
    return list(accumulate(arrival.delay for arrival in arrivals))
