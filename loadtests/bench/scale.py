"""Rates and times beside millions of finished and queued activities, compared with those on empty tables.

Two environments, one of them filled, are measured in turn. The finished activities are in the tables before; the
queued ones are brought into Redis by a reconciler, as after a loss of its contents. Lists and maintenance are compared
with those of `FEW` finished and as many queued activities: on empty tables they have nothing to do. They are measured
first, after a vacuum, and once more beside the dead rows that the other measurements leave on the filled side.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from sqlalchemy import text
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import retention
from agentexec.config import load_settings
from agentexec.ops import metrics
from agentexec.ops.health import Checks
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from agentexec.worker.reconciler import Reconciler
from harness.environments import make_environment
from harness.errors import HarnessError
from harness.processes import tree_seconds
from loadtests.bench.app import Nothing
from loadtests.bench.bench import PATIENCE_SECONDS, BenchEnvironment, BenchResult, Figure, rank, until
from loadtests.bench.filled import autocommit, fill_finished, fill_queued, vacuum
from loadtests.bench.throughput import ALONE, BATCH, CONCURRENCY, DRAINED, MANY, WORKERS
from loadtests.bench.timing import pick_up_times, until_next

QUEUE = "scale"
FEW = 20_000
# Repetitions of a list or of a call of maintenance in one measurement.
CALLS = 10
RETAINED_DAYS = 30
# A process that takes less of a core for so long is idle.
IDLE_SECONDS, IDLE_SHARE = 2.0, 0.1
# The lowest rate relative to empty tables; of a time, the reciprocal is the highest.
BOUND = 0.9


class Padded(Nothing):
    """A context as long as those of the filled tables."""

    text: str = "x" * 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two environments that are compared; `servers` are the process ids of Postgres and Redis."""

    environment: BenchEnvironment
    client: ax.Client
    reconciler: Reconciler
    collector: metrics.Collector
    servers: Sequence[int]

    @classmethod
    @contextmanager
    def of(cls, environment: BenchEnvironment) -> Iterator[Side]:
        """The servers of an environment, with empty tables."""
        settings = load_settings(
            database_url=environment.endpoints.database_url,
            redis_url=environment.endpoints.redis_url,
            queue_name=QUEUE,
        )
        checks = Checks.of(settings)
        with environment.client(QUEUE) as client:
            with client.engine.connect() as connection:
                backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                postgres = psutil.Process(int(backend)).ppid()
            yield cls(
                environment=environment,
                client=client,
                reconciler=Reconciler(client.engine, client.queue, settings),
                collector=metrics.Collector(checks, QUEUE),
                servers=(postgres, int(client.redis.info("server")["process_id"])),
            )
            checks.close()

    def fill(self, *, finished: int, queued: int) -> dict[str, float]:
        """Fill the tables and the queue; returns seconds, and bytes of Redis for each queued task."""
        memory = [self.client.redis.info("memory")["used_memory"]]
        times = [time.monotonic()]
        with autocommit(self.environment) as engine:
            fill_finished(engine, finished)
            fill_queued(engine, QUEUE, queued)
        self.client.queue.drop()
        times.append(time.monotonic())
        self.reconciler.run_round(full_pass=False)
        times.append(time.monotonic())
        memory.append(self.client.redis.info("memory")["used_memory"])
        # The mark of its dispatch is a new version of each queued row.
        with autocommit(self.environment) as engine, engine.connect() as connection:
            vacuum(connection)
        known = self.client.queue.depth().known
        if known != queued:
            raise HarnessError(
                f"the reconciler brought {known} of {queued} tasks into the queue. Run it again."
            )
        return {
            "fill": times[1] - times[0],
            "rebuild": queued / (times[2] - times[1]),
            "memory": (memory[1] - memory[0]) / queued,
        }

    def clear(self) -> None:
        """Empty the tables and the queue."""
        with autocommit(self.environment) as engine, engine.connect() as connection:
            connection.execute(text(f"TRUNCATE {LOG_TABLE}, {ACTIVITY_TABLE}"))
        self.client.queue.drop()
        self.reconciler.run_round(full_pass=False)  # so that no pool has to rebuild it


def scale(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Drain, enqueue, pick-up, lists and maintenance on filled and on empty tables, measured in turn."""
    finished, queued = environment.finished, environment.queued
    with ExitStack() as stack:
        other = stack.enter_context(make_environment("embedded"))
        emptied = replace(environment, endpoints=other.endpoints, folder=other.folder)
        full, empty = (stack.enter_context(Side.of(one)) for one in (environment, emptied))
        filled = full.fill(finished=finished, queued=queued)
        results = _called(full, empty, repeats, CALLED)
        for names, measure in MEASURES.items():
            results += _in_turn(full, empty, repeats, names, measure, before=empty.clear)
        lists = {
            f"{name}, beside dead rows": call for name, call in CALLED.items() if name.startswith("list")
        }
        results += _called(full, empty, repeats, lists)
    note = f"{finished:,} finished and {queued:,} queued activities in {filled['fill']:.0f} s"
    return [
        *(replace(result, note=note) for result in results),
        _figure("rebuild of the queue", filled["rebuild"], "tasks/s", note),
        _figure("memory of Redis for each queued task", filled["memory"], "bytes", note),
    ]


def _called(full: Side, empty: Side, repeats: int, calls: Mapping[str, Call]) -> list[BenchResult]:
    """Milliseconds of each call, compared with those on a side that has few activities meanwhile."""
    empty.clear()
    empty.fill(finished=min(FEW, full.environment.finished), queued=min(FEW, full.environment.queued))
    results = [
        result
        for name, call in calls.items()
        for result in _in_turn(full, empty, repeats, ((name, "ms"),), _milliseconds(call))
    ]
    empty.clear()
    return results


Call = Callable[[Side], object]
Measure = Callable[[Side], Sequence[float]]
Names = tuple[tuple[str, str], ...]
"""Name and unit of each figure of a measurement."""


def _in_turn(
    full: Side,
    empty: Side,
    repeats: int,
    names: Names,
    measure: Measure,
    *,
    before: Callable[[], None] = lambda: None,
) -> list[BenchResult]:
    """Measure both sides after a warm-up; which one is first alternates."""
    rounds = []
    for number in range(repeats + 1):
        before()
        sides = (full, empty) if number % 2 else (empty, full)
        found = {side is full: measure(side) for side in sides}
        rounds.append((found[True], found[False]))
    results = []
    for which, (name, unit) in enumerate(names):
        mine, its = (tuple(values[which] for values in side) for side in zip(*rounds[1:], strict=True))
        rate = unit == "tasks/s"
        results.append(
            BenchResult(
                figure=Figure(name=name, unit=unit, values=mine, higher_is_better=rate),
                floor=Figure(name=name, unit=unit, values=its, higher_is_better=rate),
                beside="that of the empty side",
                wanted=BOUND if rate else 1 / BOUND,
            )
        )
    return results


def _figure(name: str, value: float, unit: str, note: str) -> BenchResult:
    rate = unit == "tasks/s"
    return BenchResult(figure=Figure(name=name, unit=unit, values=(value,), higher_is_better=rate), note=note)


def _drain(side: Side) -> Sequence[float]:
    """Tasks per second of a pool, and microseconds of Postgres, Redis and the pool for each.

    The workers stand still until the reconciler of the pool has read all that is queued, as it does once at its start.
    """
    tasks, queue = side.environment.scaled(DRAINED), side.client.queue
    with side.environment.pool(
        side.client, workers=WORKERS, concurrency=CONCURRENCY, lease=PATIENCE_SECONDS
    ) as pool:
        until(lambda: len(queue.registered()) == WORKERS)
        supervisor = psutil.Process(pool.process.pid)
        [fork_server] = supervisor.children()
        workers = fork_server.children()
        for worker in workers:
            worker.suspend()
        asyncio.run(_enqueue_batches(side.client, tasks))
        until(lambda: _is_idle(supervisor))
        roots = [pool.process.pid, *side.servers]
        first, began, spent = queue.depth().known, time.monotonic(), tree_seconds(roots)
        for worker in workers:
            worker.resume()
        until(lambda: queue.depth().known <= first - tasks)
        done = first - queue.depth().known
        return done / (time.monotonic() - began), 1e6 * (tree_seconds(roots) - spent) / done


def _is_idle(process: psutil.Process) -> bool:
    before = process.cpu_times().user
    time.sleep(IDLE_SECONDS)
    return process.cpu_times().user - before < IDLE_SHARE * IDLE_SECONDS


async def _enqueue_batches(client: ax.Client, tasks: int) -> None:
    for first in range(0, tasks, BATCH):
        numbers = range(first, min(tasks, first + BATCH))
        requests = [ax.TaskRequest(task_name="bench.nothing", context=Padded(number=n)) for n in numbers]
        await client.enqueue_many(requests)


async def _enqueue_alone(client: ax.Client, tasks: int) -> None:
    for number in range(tasks):
        await client.enqueue("bench.nothing", Padded(number=number))


def _rate(count: int, work: Callable[[ax.Client, int], Coroutine[None, None, None]]) -> Measure:
    def measure(side: Side) -> Sequence[float]:
        tasks, began = side.environment.scaled(count), time.monotonic()
        asyncio.run(work(side.client, tasks))
        return (tasks / (time.monotonic() - began),)

    return measure


def _pick_up(side: Side) -> Sequence[float]:
    times = pick_up_times(side.environment, until_next)["call"]
    return rank(times, 0.5), rank(times, 0.99)


MEASURES: Mapping[Names, Measure] = {
    (
        (f"drain, {WORKERS} workers x {CONCURRENCY}", "tasks/s"),
        ("processor time of a drained task", "µs"),
    ): _drain,
    (("enqueue awaited one at a time", "tasks/s"),): _rate(ALONE, _enqueue_alone),
    ((f"enqueue_many in batches of {BATCH}", "tasks/s"),): _rate(MANY, _enqueue_batches),
    (("pick-up, one every 20 ms, p50", "ms"), ("pick-up, one every 20 ms, p99", "ms")): _pick_up,
}


def _milliseconds(call: Call) -> Measure:
    def measure(side: Side) -> Sequence[float]:
        times = []
        for _ in range(CALLS):
            began = time.monotonic()
            call(side)
            times.append(1e3 * (time.monotonic() - began))
        return (statistics.median(times),)

    return measure


def _listed(**options: Any) -> Call:
    def call(side: Side) -> object:
        with Session(side.client.engine) as session:
            return activity.list(session, **options)

    return call


def _of_an_agent(side: Side) -> None:
    with Session(side.client.engine) as session:
        [newest] = activity.list(session, page_size=1).items
        activity.detail(session, newest.agent_id)


def _retained(side: Side) -> None:
    """One batch of a clean-up, rolled back."""
    with side.client.engine.connect() as connection:
        cutoff = datetime.now(UTC) - timedelta(days=RETAINED_DAYS)
        retention._batch(connection, None, cutoff, archive=False, size=retention.BATCH)


def _round(side: Side) -> None:
    side.reconciler.run_round(full_pass=True)


CALLED: Mapping[str, Call] = {
    "list, page 1": _listed(),
    "list, page 20": _listed(page=20),
    "list, running": _listed(status="running"),
    "list, queued": _listed(status="queued"),
    "list, complete": _listed(status="complete"),
    "list, complete, page 20": _listed(status="complete", page=20),
    "list, error": _listed(status="error"),
    "detail of an agent": _of_an_agent,
    "round of the reconciler": _round,
    "scrape of the metrics": lambda side: metrics.render(side.collector),
    "batch of retention": _retained,
}
