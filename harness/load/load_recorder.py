"""Records the load of a chaos run while it goes on: its plan, its own lateness, and what workers and servers use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.environments.base import Endpoints
from harness.environments.log_errors import LogWatch
from harness.faults.base import FaultContext
from harness.history import OperationType, Recorder
from harness.history.figures import NANOSECONDS
from harness.history.names import GAUGES, LOAD
from harness.load.gauge_record import RecordedSamples
from harness.load.gauges import LoadGauges, Sampler
from harness.load.histogram import LatencyHistogram
from harness.load.planned_load import PlannedLoad
from harness.load.server_gauges import PostgresSampler, RedisSampler
from harness.load.worker_gauges import GeneratorSampler, PoolsSampler, QueueSampler, WorkersSampler

_NOT_PUBLISHED = "the target does not publish it where the harness reads it"


class LoadRecorder:
    """Records the load of a scenario with its gauges; `recorder` is that of the runner, the rest is of `RunGauges`."""

    def __init__(
        self,
        load: PlannedLoad,
        scenario: str,
        recorder: Recorder,
        *,
        context: FaultContext,
        queue: str | None,
    ) -> None:
        self._value = load.to_value(scenario)
        self._recorder = recorder
        self._noticed = LatencyHistogram()
        self._start: float | None = None
        self._gauges = RunGauges(context, recorder.path.parent, queue, self._elapsed)

    def begin(self, start: float) -> None:
        """Record the plan; the load begins at `start`, by `time.monotonic`."""
        self._start = start
        self._recorder.record(OperationType.INVOKE, LOAD, **self._value, start=round(start * NANOSECONDS))
        self._gauges.start()

    def notice(self, lateness: float) -> None:
        """Count an arrival that the generator noticed so many seconds after its intended time."""
        self._noticed.record(lateness)

    def end(self) -> None:
        """Record that every task is submitted and answered."""
        self._gauges.end()
        self._recorder.record(OperationType.OK, LOAD, noticed=self._noticed.to_value())

    def drained(self) -> None:
        """Sample the gauges for the last time."""
        self._gauges.finish()

    def close(self) -> None:
        """Record nothing more; may be called twice."""
        self._gauges.close()

    def _elapsed(self) -> float:
        return 0.0 if self._start is None else time.monotonic() - self._start


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
