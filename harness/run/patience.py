"""The patience of a drain: how long nothing may change before an unfinished task counts as stuck, and what changes."""

from __future__ import annotations

import time
from pathlib import Path

from harness.history.names import GAUGES, MACHINE, MEMORY, RUNNER
from harness.run.gauge import MachineGauge

# On a slow machine a drain waits up to so many times longer.
_SLOW_MACHINE = 4.0


class Patience:
    """Counts the `seconds` without any change, and only those that the machine gave to the system under test.

    On a slow machine it is over all the same after `slowest` times as long.
    """

    def __init__(self, seconds: float, gauge: MachineGauge, *, slowest: float = _SLOW_MACHINE) -> None:
        self.seconds = seconds
        self._gauge = gauge
        self._slowest = slowest
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
        return given > self._needed or self.quiet > self._slowest * self._needed

    def _note(self) -> None:
        self._changed, self._lost = time.monotonic(), self._gauge.lost


class Movement:
    """What the processes of the system under test have recorded in the history files of a folder.

    The runs of a schedule are left out: they go on for ever, whatever has become of the tasks of the run.
    """

    _NOT_MOVED = frozenset({f"{name}.jsonl" for name in (RUNNER, MACHINE, MEMORY, GAUGES)})
    _OF_SCHEDULE = b'"scheduled":true'

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        self._operations = 0

    def operations(self) -> int:
        """How many operations there are so far; it grows while any process records."""
        for file in self._folder.glob("*.jsonl"):
            known = self._read.get(file.name, 0)
            if file.name in self._NOT_MOVED or file.stat().st_size <= known:
                continue
            with file.open("rb") as lines:
                lines.seek(known)
                # A last line without its end is still being written.
                whole, end, _ = lines.read().rpartition(b"\n")
            self._read[file.name] = known + len(whole) + len(end)
            self._operations += sum(self._OF_SCHEDULE not in line for line in (whole + end).splitlines())
        return self._operations
