"""The patience of a drain: how long nothing may change before an unfinished task counts as stuck."""

from __future__ import annotations

import time

from harness.run.gauge import MachineGauge

# On a slow machine a drain waits up to so many times longer.
_SLOW_MACHINE = 4.0


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
