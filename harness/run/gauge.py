"""The gauge of the machine: a thread that samples how well the machine keeps up while a run goes on.

Each sample measures three things: the load average, how much longer than its best time a fixed amount of work takes,
and how late short sleeps wake. The work takes about 10 ms, which is long enough for the scheduler to interrupt it if
other programs want the core. It runs outside of the interpreter's lock, so the other threads of the runner do not
disturb it.
"""

from __future__ import annotations

import hashlib
import os
import time

from harness.history import OperationType, Recorder
from harness.history.machine import lost_seconds
from harness.history.names import MACHINE
from harness.run.sampling_thread import SamplingThread

_PERIOD_SECONDS = 0.5
_SLEEP_SECONDS = 0.05
_WORK = bytes(1 << 20)
_PARTS = 20


class MachineGauge(SamplingThread):
    """Records one `machine` operation each half second."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__("gauge")
        self._recorder = recorder
        self._lost = 0.0
        self._rate = 0.0
        self._sampled = time.monotonic()
        self._best = min(_work() for _ in range(_PARTS))

    @property
    def lost(self) -> float:
        """How many seconds the machine has taken away so far; those since the last sample at the rate of that one."""
        return self._lost + self._rate * (time.monotonic() - self._sampled)

    def _run(self) -> None:
        while not self._stop.is_set():
            delay, due = 0.0, time.monotonic() + _PERIOD_SECONDS
            while time.monotonic() < due and not self._stop.is_set():
                delay = max(delay, self._late())
            spin = self._spin()
            self._count(spin, delay)
            figures = {"load": round(os.getloadavg()[0], 2), "spin": round(spin, 3), "delay": round(delay, 4)}
            try:
                self._recorder.record(OperationType.INFO, MACHINE, **figures)
            except OSError:  # a full disk: the recorders of the run report it
                return

    def _count(self, spin: float, delay: float) -> None:
        now = time.monotonic()
        covered = now - self._sampled
        lost = lost_seconds(spin=spin, delay=delay, covered=covered)
        self._lost, self._rate, self._sampled = self._lost + lost, lost / covered, now

    def _late(self) -> float:
        """How late one short sleep wakes, in seconds."""
        due = time.monotonic() + _SLEEP_SECONDS
        self._stop.wait(_SLEEP_SECONDS)
        return max(0.0, time.monotonic() - due)

    def _spin(self) -> float:
        """How many times longer than its best time the fixed work takes; the best time is of single parts."""
        began = time.perf_counter()
        self._best = min(self._best, *(_work() for _ in range(_PARTS)))
        return max(1.0, (time.perf_counter() - began) / (_PARTS * self._best))


def _work() -> float:
    """The time of one part of the work, in seconds; about half a millisecond."""
    began = time.perf_counter()
    hashlib.sha256(_WORK).digest()
    return time.perf_counter() - began
