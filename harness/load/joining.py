"""How a process that joins a load gets its part of the arrivals that are still to come.

The processes that begin a load share its arrivals by their numbers. One that joins takes an equal part from each of the
others, from a second of the schedule on that none of them has reached. Of several that claim an arrival, the last one
to join sends it: each process gives up what a later one claims.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from harness.load.schedule import PlannedArrival

# Arrivals of the past that are passed over at once; then other greenlets run.
_AT_ONCE = 10_000


class Join(NamedTuple):
    """A process joins as the last of `size`, from the second `since` of the schedule on."""

    since: float
    size: int

    def claims(self, arrival: PlannedArrival) -> bool:
        """Whether the process that joins sends this arrival."""
        # Not the remainder of the number itself: by that, those of a process may all have one owner.
        drawn = zlib.crc32(f"{self.size}/{arrival.number}".encode())
        return arrival.intended >= self.since and drawn % self.size == 0


def from_second(arrivals: Iterator[PlannedArrival], second: float) -> Iterator[PlannedArrival]:
    """The arrivals from a second on. Those before it are passed over now, and not when the first one is asked for."""
    for number, arrival in enumerate(arrivals):
        if arrival.intended >= second:
            return itertools.chain([arrival], arrivals)
        if number % _AT_ONCE == 0:
            time.sleep(0)
    return iter(())
