"""The memory of the processes of pools, as the runner sampled it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from harness.history.history import History
from harness.history.names import MEMORY


class MemorySample(NamedTuple):
    """One process of a pool at `time` (nanoseconds): the bytes in memory that it shares with no file."""

    time: int
    pool: str
    pid: int
    size: int


def memory_samples(history: History) -> Iterator[MemorySample]:
    """Every sample, in order; raises `ValueError` for one that cannot be read."""
    for operation in history.where(MEMORY):
        for pool, sizes in dict(operation.value["pools"]).items():
            for pid, size in sizes.items():
                yield MemorySample(operation.time, str(pool), int(pid), int(size))


def largest_sizes(history: History) -> dict[int, int]:
    """By time (nanoseconds), the memory of the largest process."""
    found: dict[int, int] = {}
    for sample in memory_samples(history):
        found[sample.time] = max(sample.size, found.get(sample.time, 0))
    return found
