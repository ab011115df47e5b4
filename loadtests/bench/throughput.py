"""Rates: draining a queue of no-op tasks, and enqueuing in three ways."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import agentexec as ax
from agentexec.core.db import one_statement
from agentexec.identifiers import new_id
from agentexec.queue.protocol import Dispatch
from agentexec.store.rows import NewActivity
from agentexec.store.statements import record_enqueued
from agentexec.task import encode_payload
from loadtests.bench.app import Nothing
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, in_turn, until

WORKERS = 2
CONCURRENCY = 64
DRAINED = 20_000
ALONE, TOGETHER, MANY = 500, 5_000, 20_000
BATCH = 1_000
AT_ONCE = 100


def drain(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Tasks per second from a full to an empty queue; every task is recorded as RUNNING and COMPLETE with logs."""
    tasks = environment.scaled(DRAINED)
    agentexec, floor = in_turn(
        repeats, lambda: drain_rate(environment, tasks), lambda: _drain_floor(environment, tasks)
    )
    name = f"drain of no-op tasks, {WORKERS} workers x {CONCURRENCY}"
    return BenchResult(
        figure=Figure(name=name, unit="tasks/s", values=agentexec),
        floor=Figure(name="the same scripts and statements in 2 bare loops", unit="tasks/s", values=floor),
    )


def enqueue_alone(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Calls per second of one caller that awaits each `enqueue`, beside the bare statement and script."""
    count = environment.scaled(ALONE)

    async def one_by_one(client: ax.Client) -> None:
        for number in range(count):
            await client.enqueue("bench.nothing", Nothing(number=number))

    mine, floor = in_turn(
        repeats,
        lambda: _rate(environment, count, one_by_one),
        lambda: _bare_enqueue(environment, count, batch=1),
    )
    return BenchResult(
        figure=Figure(name="enqueue awaited one at a time", unit="tasks/s", values=mine),
        floor=Figure(name="bare statement and script, one task each", unit="tasks/s", values=floor),
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

    mine, floor = in_turn(
        repeats,
        lambda: _rate(environment, count, in_batches),
        lambda: _bare_enqueue(environment, count, batch=BATCH),
    )
    return BenchResult(
        figure=Figure(name=f"enqueue_many in batches of {BATCH}", unit="tasks/s", values=mine),
        floor=Figure(name="bare statement and script, batches alike", unit="tasks/s", values=floor),
    )


def drain_rate(environment: BenchEnvironment, tasks: int) -> float:
    """Tasks per second of one drain of a new queue."""
    with environment.client() as client:
        asyncio.run(_fill(client, tasks))
        with environment.pool(client, workers=WORKERS, concurrency=CONCURRENCY):
            return _rate_of_emptying(client, tasks)


def _drain_floor(environment: BenchEnvironment, tasks: int) -> float:
    with environment.client() as client:
        asyncio.run(_fill(client, tasks))
        urls = environment.endpoints
        command = [sys.executable, "-m", "loadtests.bench.floor", urls.database_url, urls.redis_url]
        loops = [subprocess.Popen([*command, client.queue.name, str(CONCURRENCY)]) for _ in range(WORKERS)]
        try:
            return _rate_of_emptying(client, tasks)
        finally:
            for loop in loops:
                loop.wait()


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


def _bare_enqueue(environment: BenchEnvironment, count: int, *, batch: int) -> float:
    with environment.client() as client:
        engine = one_statement(client.engine)
        began = time.monotonic()
        for first in range(0, count, batch):
            rows = [_activity(client.queue.name, n) for n in range(first, min(count, first + batch))]
            with engine.begin() as connection:
                record_enqueued(connection, rows)
            client.queue.enqueue(
                [
                    Dispatch(
                        task_id=row.id, payload=encode_payload(row.task_name, row.context), level=row.priority
                    )
                    for row in rows
                ]
            )
        return count / (time.monotonic() - began)


def _activity(queue_name: str, number: int) -> NewActivity:
    return NewActivity(
        id=new_id(),
        queue_name=queue_name,
        task_name="bench.nothing",
        context={"number": number},
        priority=1,
        message="Waiting to start.",
    )
