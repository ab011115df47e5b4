"""The base of every benchmark: servers, its own queue, a pool as a process, and figures with their spread."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from uuid import uuid4

import agentexec as ax
from agentexec.core.db import create_schema
from harness.environments.base import Endpoints
from harness.errors import HarnessError
from harness.history import History
from harness.history.figures import quantile
from loadtests.bench.app import HISTORY

POLL_SECONDS = 0.005
FINISHED, QUEUED, MINUTES = 10_000_000, 1_000_000, 20.0
# The longest time of one measurement.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """Repeated measurements of one quantity, with the direction of an improvement."""

    name: str
    unit: str
    values: tuple[float, ...]
    higher_is_better: bool = True

    @property
    def median(self) -> float:
        """The median of the measurements."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest measurement."""
        return min(self.values), max(self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """A figure and, if there is one, its floor for comparison; both are measured in turn in the same run.

    `wanted` is the required ratio: a minimum for a rate, a maximum for a cost.
    """

    figure: Figure
    floor: Figure | None = None
    note: str = ""
    beside: str = "the floor"
    wanted: float | None = None

    @property
    def ratio(self) -> float | None:
        """The figure relative to its floor: the median of the ratios of the rounds."""
        return None if self.floor is None else statistics.median(self.ratios)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio of each round; more than 1 for a latency, less for a rate."""
        if self.floor is None:
            return ()
        return tuple(mine / its for mine, its in zip(self.figure.values, self.floor.values, strict=True))


@dataclass(slots=True)
class BenchEnvironment:
    """The servers of a benchmark; `quick` reduces the number of tasks.

    `finished` and `queued` are the activities of `scale`, `minutes` the length of `endurance`.
    """

    endpoints: Endpoints
    folder: Path
    quick: bool = False
    finished: int = FINISHED
    queued: int = QUEUED
    minutes: float = MINUTES

    def scaled(self, number: int) -> int:
        """A number of tasks, or a tenth of it if `quick`."""
        return max(1, number // 10) if self.quick else number

    @contextmanager
    def client(self, queue_name: str | None = None) -> Iterator[ax.Client]:
        """A client with a queue, by default a new one, whose keys are removed at the end."""
        client = ax.Client(
            database_url=self.endpoints.database_url,
            redis_url=self.endpoints.redis_url,
            queue_name=queue_name or f"bench-{uuid4().hex[:12]}",
        )
        create_schema(client.engine)
        try:
            yield client
        finally:
            client.queue.drop()
            client.close()

    @contextmanager
    def pool(
        self,
        client: ax.Client,
        *,
        workers: int,
        concurrency: int,
        lease: float = 30.0,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[PoolProcess]:
        """A pool for the client's queue, stopped or killed at the end."""
        history = Path(mkdtemp(dir=self.folder))
        environment = os.environ | {
            "DATABASE_URL": self.endpoints.database_url,
            "REDIS_URL": self.endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": client.queue.name,
            "AGENTEXEC_NUM_WORKERS": str(workers),
            "AGENTEXEC_WORKER_CONCURRENCY": str(concurrency),
            "AGENTEXEC_LEASE_SECONDS": str(lease),
            HISTORY: str(history),
            **settings,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "agentexec", "worker", "loadtests.bench.app:pool"],
            env=environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        pool = PoolProcess(process=process, folder=history)
        try:
            yield pool
        finally:
            pool.end()


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolProcess:
    """A running pool and the folder of its history."""

    process: subprocess.Popen[bytes]
    folder: Path

    def history(self) -> History:
        """The history of the workers so far."""
        return History.load(self.folder)

    def kill(self) -> None:
        """SIGKILL to the parent and all its workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """SIGTERM the pool, then SIGKILL it if necessary."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


def until(condition: Callable[[], bool], *, step: float = POLL_SECONDS) -> None:
    """Wait until a condition is true; raises `HarnessError` after `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise HarnessError(
                f"a measurement was not finished after {PATIENCE_SECONDS:g} s. Check the load of the machine."
            )
        time.sleep(step)


def in_turn(repeats: int, *measures: Callable[[], float]) -> list[tuple[float, ...]]:
    """Measure in turn (A B A B ...) after one warm-up, so that changes of the machine affect all measures alike."""
    for measure in measures:
        measure()
    rounds: list[Sequence[float]] = [[measure() for measure in measures] for _ in range(repeats)]
    return [tuple(values) for values in zip(*rounds, strict=True)]


def rank(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of at least one value; raises `HarnessError` if nothing was measured."""
    found = quantile(values, share)
    if found is None:
        raise HarnessError("a benchmark measured nothing. Check the load of the machine and run it again.")
    return found
