"""The patience of a drain: how long nothing may change before an unfinished task counts as stuck."""

from __future__ import annotations

import time

from harness.history.promises import Promises
from harness.run.gauge import MachineGauge
from harness.scenario import Scenario

# A drain ends early if nothing moves for the longest of these two and of the recovery that the target promises. Its
# unfinished tasks are then stuck.
STALL_LEASES = 2.0
STALL_SECONDS = 5.0

# On a slow machine a drain waits up to so many times longer.
_SLOW_MACHINE = 4.0


def patience_of(scenario: Scenario, promises: Promises) -> float:
    """Seconds without any change after which an unfinished task of this scenario counts as stuck."""
    lease = scenario.pool.lease if promises.takes_over_after is None else promises.takes_over_after
    taken = {loss for fault in scenario.faults if (loss := getattr(fault, "loss", None)) is not None}
    return max(STALL_LEASES * lease, STALL_SECONDS, promises.recovery_after(taken))


class Patience:
    """Counts the `seconds` without any change, and only those that the machine gave to the system under test."""

    def __init__(self, seconds: float, gauge: MachineGauge) -> None:
        self.seconds = seconds
        self._gauge = gauge
        self.begin(longest_work=0.0)

    def begin(self, *, longest_work: float) -> None:
        """Begin to wait; a handler that works for `longest_work` seconds shows no change meanwhile."""
        self._needed = self.seconds + longest_work
        self._seen: object = None
        self._note()

    def look(self, state: object) -> None:
        """Begin again if the state differs from the one before."""
        if state != self._seen:
            self._seen = state
            self._note()

    @property
    def quiet(self) -> float:
        """Seconds since the last change."""
        return time.monotonic() - self._changed

    @property
    def is_over(self) -> bool:
        """Nothing has changed for long enough."""
        given = self.quiet - (self._gauge.lost - self._lost)
        return given > self._needed or self.quiet > _SLOW_MACHINE * self._needed

    def _note(self) -> None:
        self._changed, self._lost = time.monotonic(), self._gauge.lost
