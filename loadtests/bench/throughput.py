"""Rates: draining a queue of no-op tasks, and enqueuing in three ways, beside the floor where there is one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable

import agentexec as ax
from harness.environments.urls import plain_url
from harness.errors import HarnessError
from loadtests.bench import floor
from loadtests.bench.app import Nothing
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, in_turn, until

WORKERS = 2
CONCURRENCY = 64
DRAINED = 20_000
ALONE, TOGETHER, MANY = 500, 5_000, 20_000
BATCH = 1_000
AT_ONCE = 100
FLOOR = "one recorded row per task in Postgres"


def drain(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Tasks per second from a full to an empty queue; every task is recorded as RUNNING and COMPLETE with logs."""
    tasks = environment.scaled(DRAINED)
    agentexec, least = in_turn(
        repeats, lambda: drain_rate(environment, tasks), lambda: _drain_floor(environment, tasks)
    )
    name = f"drain of no-op tasks, {WORKERS} workers x {CONCURRENCY}"
    return BenchResult(
        figure=Figure(name=name, unit="tasks/s", values=agentexec),
        floor=Figure(name=f"{FLOOR}, {WORKERS} bare loops", unit="tasks/s", values=least),
    )


def enqueue_alone(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Calls per second of one caller that awaits each `enqueue`, beside its floor."""
    count = environment.scaled(ALONE)

    async def one_by_one(client: ax.Client) -> None:
        for number in range(count):
            await client.enqueue("bench.nothing", Nothing(number=number))

    mine, least = in_turn(
        repeats,
        lambda: _rate(environment, count, one_by_one),
        lambda: _enqueue_floor(environment, count, batch=1),
    )
    return BenchResult(
        figure=Figure(name="enqueue awaited one at a time", unit="tasks/s", values=mine),
        floor=Figure(name=f"{FLOOR}, one task each", unit="tasks/s", values=least),
    )


def enqueue_together(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Calls per second of 100 callers that each await their own `enqueue` at the same time."""
    count = environment.scaled(TOGETHER)

    async def together(client: ax.Client) -> None:
        for first in range(0, count, AT_ONCE):
            calls = (
                client.enqueue("bench.nothing", Nothing(number=n)) for n in range(first, first + AT_ONCE)
            )
            await asyncio.gather(*calls)

    (mine,) = in_turn(repeats, lambda: _rate(environment, count, together))
    return BenchResult(
        figure=Figure(name=f"{AT_ONCE} enqueues awaited together", unit="tasks/s", values=mine)
    )


def enqueue_many(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Tasks per second through `enqueue_many` in batches of 1,000."""
    count = environment.scaled(MANY)

    async def in_batches(client: ax.Client) -> None:
        await _fill(client, count)

    mine, least = in_turn(
        repeats,
        lambda: _rate(environment, count, in_batches),
        lambda: _enqueue_floor(environment, count, batch=BATCH),
    )
    return BenchResult(
        figure=Figure(name=f"enqueue_many in batches of {BATCH}", unit="tasks/s", values=mine),
        floor=Figure(name=f"{FLOOR}, batches alike", unit="tasks/s", values=least),
    )


def drain_rate(environment: BenchEnvironment, tasks: int) -> float:
    """Tasks per second of one drain of a new queue."""
    with environment.client() as client:
        asyncio.run(_fill(client, tasks))
        with environment.pool(client, workers=WORKERS, concurrency=CONCURRENCY):
            return _rate_of_emptying(client, tasks)


def _drain_floor(environment: BenchEnvironment, tasks: int) -> float:
    url = plain_url(environment.endpoints.database_url)
    with floor.connect(url) as connection:
        floor.create(connection)
        for first in range(0, tasks, BATCH):
            floor.enqueue(connection, [_context(n) for n in range(first, min(tasks, first + BATCH))])
    command = [sys.executable, "-m", "loadtests.bench.floor", str(CONCURRENCY)]
    variables = {**os.environ, "DATABASE_URL": url}
    loops = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(WORKERS)
    ]
    found = [[int(word) for word in loop.communicate()[0].split()] for loop in loops]
    count, ended = sum(one[0] for one in found), max(one[2] for one in found)
    # A loop that found nothing to do has no begin.
    began = min(one[1] for one in found if one[0])
    if count != tasks:
        raise HarnessError(f"the floor ran {count} of {tasks} tasks. Run the benchmark again.")
    return tasks * 1e9 / (ended - began)


def _rate_of_emptying(client: ax.Client, tasks: int) -> float:
    """Tasks per second from the first finished task to the last, without the start of the processes."""
    until(lambda: client.queue.depth().known < tasks)
    first, began = client.queue.depth().known, time.monotonic()
    until(lambda: client.queue.depth().known == 0)
    return first / (time.monotonic() - began)


async def _fill(client: ax.Client, tasks: int) -> None:
    for first in range(0, tasks, BATCH):
        last = min(tasks, first + BATCH)
        await client.enqueue_many(
            [ax.TaskRequest(task_name="bench.nothing", context=Nothing(number=n)) for n in range(first, last)]
        )


def _rate(environment: BenchEnvironment, count: int, work: Callable[[ax.Client], object]) -> float:
    with environment.client() as client:
        began = time.monotonic()
        asyncio.run(work(client))  # type: ignore[arg-type]  # each is a coroutine function
        return count / (time.monotonic() - began)


def _enqueue_floor(environment: BenchEnvironment, count: int, *, batch: int) -> float:
    with floor.connect(plain_url(environment.endpoints.database_url)) as connection:
        floor.create(connection)
        began = time.monotonic()
        for first in range(0, count, batch):
            floor.enqueue(connection, [_context(n) for n in range(first, min(count, first + batch))])
        return count / (time.monotonic() - began)


def _context(number: int) -> bytes:
    return Nothing(number=number).model_dump_json().encode()
