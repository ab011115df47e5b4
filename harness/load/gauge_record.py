"""How the gauges of the load of a chaos run are recorded in its history, and read from it.

gauges  gauges  info: levels, totals, epochs, notes (a sample of one source), second (since the start of the load, null
                      for the last sample, after the drain)
                info: missing (gauges), why (a source that could not be read)
                info: logs (the errors in the logs of the servers, after the drain)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from harness.environments.log_errors import LoggedErrors
from harness.history import History, Operation, OperationType, Recorder
from harness.history.figures import seconds
from harness.history.names import GAUGES
from harness.load.resources import Sample, Sampled


class RecordedSamples(Sampled):
    """Samples that are recorded while they are taken, until it is closed."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._lock = threading.Lock()
        self._closed = False

    def add(self, sample: Sample, *, at: float, second: float | None) -> None:
        self.record(**{name: value for name, value in asdict(sample).items() if value}, second=second)
        super().add(sample, at=at, second=second)

    def note_missing(self, names: Iterable[str], why: str) -> None:
        self.record(missing=list(names), why=why)
        super().note_missing(names, why)

    def record(self, **value: Any) -> None:
        """Record an operation; nothing after `close`, when a thread may still wait for the answer of a server."""
        with self._lock, suppress(OSError):  # a full disk: the recorders of the run report it
            if not self._closed:
                self._recorder.record(OperationType.INFO, GAUGES, **value)

    def close(self) -> bool:
        """Record no more; whether this is the first call."""
        with self._lock:
            first, self._closed = not self._closed, True
        return first


def recorded_samples(history: History) -> Sampled:
    """What a history has of gauges; raises `ValueError` for an operation that cannot be read."""
    found = Sampled()
    for op in history.where(GAUGES):
        try:
            _add(found, op)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"an operation of {GAUGES} cannot be read ({type(error).__name__})") from None
    return found


def _add(found: Sampled, op: Operation) -> None:
    match op.value:
        case {"logs": logs}:
            found.logs = [LoggedErrors(**{**one, "sentences": tuple(one["sentences"])}) for one in logs]
        case {"missing": names, "why": why}:
            found.note_missing(names, str(why))
        case {"second": second, **sample}:
            found.add(Sample(**sample), at=seconds(op.time), second=second)
        case _:
            raise ValueError
