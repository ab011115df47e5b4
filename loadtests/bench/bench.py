"""What every benchmark stands on: servers, a queue of its own, a pool as a process, and figures with their spread."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import agentexec as ax
from agentexec.core.db import create_schema
from harness.environments.base import Endpoints
from harness.errors import HarnessError
from harness.history import History
from loadtests.bench.app import HISTORY

STEP = 0.005  # seconds between two looks at a condition
PATIENCE = 120.0  # seconds that any one measurement may take


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """Repeated measurements of one thing. `higher_is_better` says how to read a change."""

    name: str
    unit: str
    values: tuple[float, ...]
    higher_is_better: bool = True

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest measurement."""
        return min(self.values), max(self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """A benchmark: the figure, and what it stands beside where there is such, measured in the same run and in turn.

    `wanted` is the ratio asked for: at least so much of a rate, at most so much of a cost.
    """

    figure: Figure
    floor: Figure | None = None
    note: str = ""
    beside: str = "the floor"
    wanted: float | None = None

    @property
    def ratio(self) -> float | None:
        """The figure as a part of its floor: the median of what the rounds say, as each measured both at a time."""
        return None if self.floor is None else statistics.median(self.ratios)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio of each round; more than 1 for a latency, less for a rate."""
        if self.floor is None:
            return ()
        return tuple(mine / its for mine, its in zip(self.figure.values, self.floor.values, strict=True))


@dataclass(slots=True)
class Ground:
    """Servers to measure on."""

    endpoints: Endpoints
    folder: Path
    quick: bool = False
    say: Callable[[str], None] = field(default=lambda _: None)

    def scaled(self, number: int) -> int:
        """A number of tasks; a tenth of it for a quick look."""
        return max(1, number // 10) if self.quick else number

    @contextmanager
    def client(self) -> Iterator[ax.Client]:
        """A client on a fresh queue; the queue's keys are gone afterwards."""
        client = ax.Client(
            database_url=self.endpoints.database_url,
            redis_url=self.endpoints.redis_url,
            queue_name=f"bench-{uuid4().hex[:12]}",
        )
        create_schema(client.engine)
        try:
            yield client
        finally:
            client.queue.drop()
            client.close()

    @contextmanager
    def pool(
        self, client: ax.Client, *, workers: int, concurrency: int, lease: float = 30.0
    ) -> Iterator[PoolProcess]:
        """A pool on the client's queue; stopped, or killed, afterwards."""
        history = Path(mkdtemp(dir=self.folder))
        environment = os.environ | {
            "DATABASE_URL": self.endpoints.database_url,
            "REDIS_URL": self.endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": client.queue.name,
            "AGENTEXEC_NUM_WORKERS": str(workers),
            "AGENTEXEC_WORKER_CONCURRENCY": str(concurrency),
            "AGENTEXEC_LEASE_SECONDS": str(lease),
            HISTORY: str(history),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "agentexec", "worker", "loadtests.bench.app:pool"],
            env=environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        pool = PoolProcess(process=process, history=history)
        try:
            yield pool
        finally:
            pool.end()


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolProcess:
    """A running pool and the folder its workers record into."""

    process: subprocess.Popen[bytes]
    history: Path

    def runs(self) -> History:
        """What the workers recorded so far."""
        return History.load(self.history)

    def kill(self) -> None:
        """SIGKILL to the parent and all its workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()


def until(condition: Callable[[], bool], *, step: float = STEP) -> None:
    """Wait for a condition; raises `HarnessError` when it takes longer than any measurement should."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise HarnessError(
                f"a measurement was not over after {PATIENCE:g} s; look at the load of the machine."
            )
        time.sleep(step)


def in_turn(repeats: int, *measures: Callable[[], float]) -> list[tuple[float, ...]]:
    """Measure several things A B A B …, so that a drifting machine treats them alike; after one warm-up."""
    for measure in measures:
        measure()
    rounds: list[Sequence[float]] = [[measure() for measure in measures] for _ in range(repeats)]
    return [tuple(values) for values in zip(*rounds, strict=True)]


def quantile(values: Sequence[float], q: float) -> float:
    """Nearest-rank quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(q * len(ordered) + 0.5) - 1))]
