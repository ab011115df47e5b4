"""The gauges of the load of a chaos run: the samplers of every load, whose samples are recorded in the history.

gauges  gauges  info: levels, totals, epochs, notes (a sample of one source), second (since the start of the load, null
                      for the last sample, after the drain)
                info: missing (gauges), why (a source that could not be read)
                info: logs (the errors in the logs of the servers, after the drain)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.environments.base import Endpoints
from harness.environments.log_errors import LoggedErrors, LogWatch
from harness.faults.base import FaultContext
from harness.history import History, Operation, OperationType, Recorder
from harness.history.figures import seconds
from harness.history.names import GAUGES
from harness.load.gauges import LoadGauges, Sampler
from harness.load.resources import Sample, Sampled
from harness.load.server_gauges import PostgresSampler, RedisSampler
from harness.load.worker_gauges import GeneratorSampler, PoolsSampler, QueueSampler, WorkersSampler

_NOT_PUBLISHED = "the target does not publish it where the harness reads it"


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


class RunGauges:
    """The gauges of a run, which are sampled from `start` until `end`, and once more at `finish`.

    `context` has the pools and the servers, `history` is a folder. `queue` is that of a target that is agentexec, None
    for another one. `elapsed` gives the seconds since the load began.
    """

    def __init__(
        self, context: FaultContext, history: Path, queue: str | None, elapsed: Callable[[], float]
    ) -> None:
        self._recorder = Recorder(history / f"{GAUGES}.jsonl", process=GAUGES)
        self._samples = RecordedSamples(self._recorder)
        logs = None if context.environment is None else LogWatch.of(context.environment)
        self._gauges = LoadGauges(list(_samplers(context, queue)), elapsed, logs, self._samples)
        if queue is None:
            self._samples.note_missing(("slots in use", "queue depth", "in flight"), _NOT_PUBLISHED)

    def start(self) -> None:
        """Begin to sample."""
        self._gauges.start()

    def end(self) -> None:
        """Stop sampling: the load has ended."""
        self._gauges.end()

    def finish(self) -> None:
        """Take the last samples, after the drain."""
        logs = [one.to_value() for one in self._gauges.sampled().logs]
        self._samples.record(logs=logs)

    def close(self) -> None:
        """Record no more; may be called twice."""
        self._gauges.end()
        if self._samples.close():
            self._recorder.close()


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


def _samplers(context: FaultContext, queue: str | None) -> Iterator[Sampler]:
    urls = Endpoints(database_url="", redis_url="")
    if context.environment is not None:
        urls = context.environment.endpoints
    if urls.redis_url and queue is not None:
        yield WorkersSampler(urls.redis_url, [queue])
        yield QueueSampler(urls.redis_url, queue)
    else:
        yield PoolsSampler(context.pools)
    if urls.database_url:
        yield PostgresSampler(urls.database_url)
    if urls.redis_url:
        yield RedisSampler(urls.redis_url)
    yield GeneratorSampler()
