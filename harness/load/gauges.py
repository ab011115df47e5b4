"""Samples gauges once a second while a load runs: each sampler in its own thread, so that no server delays another.

A thread is a greenlet under Locust. It ends with the load, and a server that does not answer delays neither the load
nor its end. The totals of a load include its drain: they are read once more when it is judged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import psutil
import psycopg

from harness.environments.log_errors import LogWatch
from harness.environments.redis_connection import RedisFailure
from harness.errors import first_line
from harness.load.resources import Sample, Sampled
from harness.load.series import LoadSeries

PERIOD_SECONDS = 1.0
LAST_SECONDS = 5.0
"""How long the last samples may take, after the drain."""
_UNANSWERED = (psycopg.Error, RedisFailure, psutil.Error, OSError)


class Sampler(Protocol):
    """A source of gauges. It connects when it is asked, also after `close`."""

    names: Sequence[str]
    """The gauges that it samples."""

    def sample(self) -> Sample:
        """The values now; raises what its server raises."""
        ...

    def close(self) -> None:
        """Disconnect; may be called twice."""
        ...


class LoadGauges:
    """The gauges of a load. `elapsed` gives the seconds since it began, 0 before that; `sampled` gets the samples."""

    def __init__(
        self,
        samplers: Sequence[Sampler],
        elapsed: Callable[[], float],
        logs: LogWatch | None = None,
        sampled: Sampled | None = None,
    ) -> None:
        self._elapsed = elapsed
        self._logs = logs
        self._sampled = Sampled() if sampled is None else sampled
        self._started, self._ended = threading.Event(), threading.Event()
        self._sources = [_Source(sampler, self._sampled) for sampler in samplers]
        self._threads = [
            threading.Thread(target=self._run, args=(source,), name="load-gauge", daemon=True)
            for source in self._sources
        ]

    @property
    def series(self) -> LoadSeries:
        """The gauges so far, by second."""
        return self._sampled.series

    def start(self) -> None:
        """Begin to sample; only the first call does."""
        if not self._started.is_set():
            self._started.set()
            for thread in self._threads:
                thread.start()

    def note_depth(self, waiting: int, in_flight: int) -> None:
        """Note the depth of the queues, which another part has asked for."""
        if elapsed := self._elapsed():
            self._sampled.gauge(elapsed, "queue depth", waiting)
            self._sampled.gauge(elapsed, "in flight", in_flight)

    def end(self) -> None:
        """Stop sampling. A server that does not answer is not waited for."""
        self._ended.set()

    def sampled(self) -> Sampled:
        """All that was sampled, with the last totals: those of a server that does not answer in time are left out."""
        self.end()
        last = [threading.Thread(target=source.ask_last, daemon=True) for source in self._sources]
        deadline = time.monotonic() + LAST_SECONDS
        for thread in last:
            thread.start()
        for thread in last:
            thread.join(max(0.0, deadline - time.monotonic()))
        for source, thread in zip(self._sources, last, strict=True):
            if thread.is_alive():
                source.note_missing("it could not be read at the end of the load: no answer")
        if self._logs is not None:
            self._sampled.logs = self._logs.found()
        return self._sampled

    def _run(self, source: _Source) -> None:
        while True:
            source.ask(self._elapsed)
            # In the middle of each second, so that each slice of the series gets a value.
            if self._ended.wait(PERIOD_SECONDS - (self._elapsed() + PERIOD_SECONDS / 2) % PERIOD_SECONDS):
                return


class _Source:
    """A sampler whose samples are kept."""

    def __init__(self, sampler: Sampler, sampled: Sampled) -> None:
        self._sampler = sampler
        self._sampled = sampled
        self._lock = threading.Lock()

    def ask(self, elapsed: Callable[[], float]) -> None:
        """Take a sample for the gauges and the totals; before the load begins, only as the start of both."""
        with self._lock:
            self._note(elapsed)

    def ask_last(self) -> None:
        """Take a sample for the totals, and disconnect."""
        with self._lock:
            self._note(None)
            self._sampler.close()

    def note_missing(self, why: str) -> None:
        """Say of all gauges of the sampler why values are missing, unless that is known."""
        self._sampled.note_missing(self._sampler.names, why)

    def _note(self, elapsed: Callable[[], float] | None) -> None:
        try:
            sample = self._sampler.sample()
        except _UNANSWERED as error:
            self._sampler.close()
            self.note_missing(f"it could not be read: {first_line(error).rstrip('.')}")
            return
        self._sampled.add(sample, at=time.monotonic(), second=None if elapsed is None else elapsed())
