"""Streams of tasks as pure functions of a seed: the same seed gives the same tasks at the same times.

Arrivals are an open model (Poisson): they follow their own clock and not the answers of the system, so a system that
falls behind is not spared by a client that waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from harness.targets.base import TaskSpec

GATE = "task-{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A task, and how many seconds after the one before it is submitted."""

    delay: float
    task: TaskSpec


def numbered_tasks(
    *, seed: int, tasks: int, rate: float, work: tuple[float, float], gated: Collection[int] = ()
) -> Iterator[Arrival]:
    """Tasks 1 to `tasks`, `rate` a second on average, each working between the two times of `work` (seconds).

    Those whose number is in `gated` wait at a gate of their own once they have begun; which ones do changes nothing
    about the times.
    """
    draw = Random(f"{seed}/numbered-tasks")  # noqa: S311 - a schedule, not a secret
    for number in range(1, tasks + 1):
        delay, seconds = draw.expovariate(rate), draw.uniform(*work)
        gate = GATE.format(number=number) if number in gated else None
        yield Arrival(delay=delay, task=TaskSpec(number=number, work=seconds, gate=gate))


def times(arrivals: Iterable[Arrival]) -> list[float]:
    """When each task is due, in seconds since the start."""
    return list(accumulate(arrival.delay for arrival in arrivals))
