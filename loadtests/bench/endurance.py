"""Minutes at 60 % of the measured peak beside a reader that holds a snapshot open, with samples over time.

Postgres keeps every row version that the snapshot may see. So the number of dead rows grows with the tasks until the
reader ends; it is bounded by the versions of a task. The rates and the memory must not change meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise

import psutil
import psycopg
from sqlalchemy import Connection, text

import agentexec as ax
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from harness.environments.urls import plain_url
from harness.processes import own_memory, tree_seconds
from loadtests.bench.app import Nothing
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, until
from loadtests.bench.filled import autocommit
from loadtests.bench.throughput import BATCH, CONCURRENCY, WORKERS

SHARE_OF_PEAK = 0.6
# Of the whole time; also the time in which the peak is measured.
WARM_UP = 0.1
TENTHS = 10
# Of the last tenth relative to the first.
LEAST_THROUGHPUT, MOST_MEMORY = 0.95, 1.05
# Queued tasks while the peak is measured.
BACKLOG = 4 * BATCH
EVERY_SECONDS = 0.1
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class EnduranceSample:
    """The state at one moment: `memory` is that of each process in MB, without what it shares, and Redis's data."""

    at: float
    ended: int
    queued: int
    dead_rows: int
    table_mb: float
    processor_seconds: float
    memory: Mapping[str, float]


def endurance(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:  # noqa: ARG001 - one run
    """Throughput, processor time, dead rows and memory of each process, in tenths of the time."""
    seconds = 60 * environment.minutes
    # Redis keeps results for this long; its memory is constant from then on.
    kept = {"AGENTEXEC_RESULT_TTL": str(max(1, round(seconds * WARM_UP / 2)))}
    with (
        environment.client() as client,
        environment.pool(client, workers=WORKERS, concurrency=CONCURRENCY, settings=kept) as pool,
        autocommit(environment) as engine,
        engine.connect() as connection,
    ):
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        roots = {
            "pool": pool.process.pid,
            "Postgres": psutil.Process(int(backend)).ppid(),
            "Redis": int(client.redis.info("server")["process_id"]),
        }
        peak = _peak(client, seconds * WARM_UP)
        producer = SteadyProducer(client, SHARE_OF_PEAK * peak)

        def sample() -> EnduranceSample:
            return _sample(client, producer, connection, roots)

        with _open_snapshot(environment), producer.running():
            time.sleep(seconds * WARM_UP)
            samples = [sample()]
            for _ in range(TENTHS):
                time.sleep(seconds / TENTHS)
                samples.append(sample())
        until(lambda: client.queue.depth().known == 0)
        connection.execute(text(f"VACUUM {ACTIVITY_TABLE}, {LOG_TABLE}"))
        return _results(peak, samples, after=sample())


def _results(peak: float, samples: Sequence[EnduranceSample], *, after: EnduranceSample) -> list[BenchResult]:
    tenths = list(pairwise(samples))
    throughput = [(b.ended - a.ended) / (b.at - a.at) for a, b in tenths]
    costs = [1e6 * (b.processor_seconds - a.processor_seconds) / max(1, b.ended - a.ended) for a, b in tenths]
    tasks = max(1, samples[-1].ended - samples[0].ended)
    series = {
        ("throughput, each tenth", "tasks/s"): throughput,
        ("processor time of a task, each tenth", "µs"): costs,
        ("queued tasks, after each tenth", "tasks"): [float(one.queued) for one in samples[1:]],
        ("dead rows, after each tenth", "rows"): [float(one.dead_rows) for one in samples[1:]],
        ("size of the tables, after each tenth", "MB"): [one.table_mb for one in samples[1:]],
    }
    return [
        _plain("peak", "tasks/s", [peak]),
        _compared("throughput, last tenth", "tasks/s", throughput[-1], throughput[0], LEAST_THROUGHPUT),
        *(_plain(name, unit, values) for (name, unit), values in series.items()),
        _plain(
            "dead rows for each task",
            "rows",
            [(samples[-1].dead_rows - samples[0].dead_rows) / tasks],
        ),
        _plain("dead rows after the reader ended, and a vacuum", "rows", [after.dead_rows]),
        *(
            _compared(f"memory of {name}", "MB", samples[-1].memory[name], memory, MOST_MEMORY)
            for name, memory in samples[0].memory.items()
            if name in samples[-1].memory
        ),
    ]


def _plain(name: str, unit: str, values: Sequence[float]) -> BenchResult:
    rate = unit == "tasks/s"
    return BenchResult(figure=Figure(name=name, unit=unit, values=tuple(values), higher_is_better=rate))


def _compared(name: str, unit: str, last: float, first: float, wanted: float) -> BenchResult:
    rate = unit == "tasks/s"
    return BenchResult(
        figure=Figure(name=name, unit=unit, values=(last,), higher_is_better=rate),
        floor=Figure(name=f"{name}: first", unit=unit, values=(first,), higher_is_better=rate),
        beside="that of the first tenth",
        wanted=wanted,
    )


class SteadyProducer:
    """Enqueues tasks at a constant rate from a thread."""

    def __init__(self, client: ax.Client, rate: float) -> None:
        self._client = client
        self._rate = rate
        self._stopping = threading.Event()
        self.enqueued = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Enqueue until the end of the block."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(EVERY_SECONDS):
            due = int(self._rate * (time.monotonic() - began))
            if due > self.enqueued:
                _enqueue(self._client, due - self.enqueued)
                self.enqueued = due


def _enqueue(client: ax.Client, tasks: int) -> None:
    client.enqueue_many_sync(
        [ax.TaskRequest(task_name="bench.nothing", context=Nothing(number=n)) for n in range(tasks)]
    )


def _peak(client: ax.Client, seconds: float) -> float:
    """Tasks per second of the pool beside a producer that keeps the queue filled."""
    _enqueue(client, BACKLOG)
    until(lambda: client.queue.depth().known < BACKLOG)  # the processes have started
    enqueued, known, began = 0, client.queue.depth().known, time.monotonic()
    while time.monotonic() < began + seconds:
        if client.queue.depth().known < BACKLOG:
            _enqueue(client, BATCH)
            enqueued += BATCH
    rate = (enqueued + known - client.queue.depth().known) / (time.monotonic() - began)
    until(lambda: client.queue.depth().known == 0)
    return rate


@contextmanager
def _open_snapshot(environment: BenchEnvironment) -> Iterator[None]:
    """A transaction with a snapshot, as of a report or a backup that takes long."""
    with psycopg.connect(plain_url(environment.endpoints.database_url)) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute(f"SELECT count(*) FROM {ACTIVITY_TABLE}")
        yield


def _sample(
    client: ax.Client, producer: SteadyProducer, connection: Connection, roots: Mapping[str, int]
) -> EnduranceSample:
    queued, enqueued = client.queue.depth().known, producer.enqueued
    query = """SELECT sum(n_dead_tup), sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables
        WHERE relname = ANY(:names)"""
    dead, size = connection.execute(text(query), {"names": [ACTIVITY_TABLE, LOG_TABLE]}).one()
    return EnduranceSample(
        at=time.monotonic(),
        ended=enqueued - queued,
        queued=queued,
        dead_rows=int(dead),
        table_mb=float(size) / MEGABYTE,
        processor_seconds=tree_seconds(roots.values()),
        memory=_memory(roots) | {"Redis: its data": client.redis.info("memory")["used_memory"] / MEGABYTE},
    )


def _memory(roots: Mapping[str, int]) -> dict[str, float]:
    """MB of each process by its kind and number, without shared memory, of which a backend of Postgres has much."""
    found: dict[str, float] = {}
    for kind, root in roots.items():
        for pid, size in own_memory([root]).items():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                # Postgres writes into its command line what a process does.
                title = process.cmdline()[0].partition("postgres: ")[2].partition("(")[0] or process.name()
                found[f"{kind}: {title}, process {pid}"] = size / MEGABYTE
    return found
