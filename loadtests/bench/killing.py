"""How soon a task runs again whose worker was killed under it, one worker at a time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

import agentexec as ax
from harness.history import History, Operation, OperationType
from loadtests.bench.app import Sleep
from loadtests.bench.bench import BenchResult, Figure, Ground, PoolProcess, quantile, until

WORKERS = 4
CONCURRENCY = 4
KILLS = 6  # of one measurement, up to four tasks each
WORK = 2.0  # seconds that a task takes: longer than a worker takes to start
BOUND = 1.0  # second


def worker_recovery(ground: Ground, repeats: int) -> list[BenchResult]:
    """Seconds from SIGKILL of one worker until a task that it ran runs again: with slots free elsewhere, and with none.

    With none, the task waits for the worker that takes the place of the dead one, or for a task of its neighbours to
    end: the figure is then mostly the start of an interpreter.
    """
    kills = max(3, ground.scaled(KILLS))
    half, full = WORKERS * CONCURRENCY // 2, WORKERS * CONCURRENCY
    return [
        BenchResult(
            figure=Figure(
                name=f"task of a killed worker runs again, {name}, p99",
                unit="s",
                values=tuple(quantile(_waits(ground, kills, tasks), 0.99) for _ in range(repeats)),
                higher_is_better=False,
            ),
            note=f"{kills} kills each; at most {BOUND:g} wanted",
        )
        for name, tasks in (("slots free", half), ("all slots taken", full))
    ]


def _waits(ground: Ground, kills: int, tasks: int) -> list[float]:
    waits: list[float] = []
    with (
        ground.client() as client,
        ground.pool(client, workers=WORKERS, concurrency=CONCURRENCY) as pool,
    ):
        for kill in range(kills):
            until(lambda: len(client.queue.registered()) == WORKERS)  # the last one's replacement is there
            numbers = range(kill * tasks, (kill + 1) * tasks)
            client.enqueue_many_sync(
                [
                    ax.TaskRequest(task_name="bench.sleep", context=Sleep(number=n, seconds=WORK))
                    for n in numbers
                ]
            )
            waits += _kill_one(pool, numbers)
            until(lambda: client.queue.depth().known == 0)
    return waits


def _kill_one(pool: PoolProcess, numbers: range) -> list[float]:
    """Kill the worker that holds most of these tasks once all of them run; the wait of each task it held."""
    until(lambda: _starts(pool.runs(), numbers).keys() >= set(numbers))
    starts = _starts(pool.runs(), numbers)
    holders = [operation.process for operation in starts.values()]
    victim = max(sorted(set(holders)), key=holders.count)
    killed = time.monotonic_ns()
    os.kill(int(victim.removeprefix("worker-")), signal.SIGKILL)
    ended = {op.value["task"] for op in pool.runs().where("run", OperationType.OK)}
    held = {n for n, op in starts.items() if op.process == victim and n not in ended}
    until(lambda: _starts(pool.runs(), numbers, attempt=2).keys() >= held)
    again = _starts(pool.runs(), numbers, attempt=2)
    return [(again[n].time - killed) / 1e9 for n in sorted(held)]


def _starts(runs: History, numbers: range, *, attempt: int = 1) -> Mapping[int, Operation]:
    return {
        op.value["task"]: op
        for op in runs.where("run", OperationType.INVOKE)
        if op.value["task"] in numbers and op.value["attempt"] == attempt
    }
