"""How soon a task runs again after its worker was killed, one worker at a time."""

from __future__ import annotations

import os
import signal
import time

import agentexec as ax
from harness.history import History, InjectionKind, Operation, OperationType
from harness.history.injection import INJECT
from harness.history.interruptions import interruptions
from harness.history.names import NEMESIS, worker_pid
from harness.history.runs import runs
from loadtests.bench.app import Sleep
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, PoolProcess, rank, until

WORKERS = 4
CONCURRENCY = 4
# Kills in one measurement. Each interrupts up to four tasks.
KILLS = 6
# Seconds of work of a task: longer than the start of a worker.
WORK = 2.0
# The highest p99, in seconds.
BOUND = 1.0


def worker_recovery(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Seconds from SIGKILL of a worker until its task runs again: with free slots in other workers, and without.

    Without a free slot, the task waits for the replacement of the killed worker, or for the end of a task in another
    worker. Most of that time is the start of an interpreter.
    """
    kills = max(3, environment.scaled(KILLS))
    half, full = WORKERS * CONCURRENCY // 2, WORKERS * CONCURRENCY
    return [
        BenchResult(
            figure=Figure(
                name=f"task of a killed worker runs again, {name}, p99",
                unit="s",
                values=tuple(rank(_waits(environment, kills, tasks), 0.99) for _ in range(repeats)),
                higher_is_better=False,
            ),
            note=f"{kills} kills each; at most {BOUND:g} required",
        )
        for name, tasks in (("slots free", half), ("all slots taken", full))
    ]


def _waits(environment: BenchEnvironment, kills: int, tasks: int) -> list[float]:
    waits: list[float] = []
    with (
        environment.client() as client,
        environment.pool(client, workers=WORKERS, concurrency=CONCURRENCY) as pool,
    ):
        for kill in range(kills):
            until(
                lambda: len(client.queue.registered()) == WORKERS
            )  # the replacement of the last killed worker is up
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
    """Kill the worker that runs most of these tasks once all of them run; the wait of each task that it ran."""
    until(lambda: {run.task for run in runs(pool.history())} >= set(numbers))
    workers = [run.process for run in runs(pool.history()) if run.task in numbers]
    victim = worker_pid(max(sorted(set(workers)), key=workers.count))
    value = {"fault": 1, "phase": INJECT, "kind": InjectionKind.KILL, "pids": [victim]}
    kill = Operation(
        time=time.monotonic_ns(), process=NEMESIS, type=OperationType.INFO, f="kill-worker", value=value
    )
    os.kill(victim, signal.SIGKILL)

    def waits() -> list[float | None]:
        return [one.waited for one in interruptions(History.of([*pool.history(), kill]))]

    until(lambda: None not in waits())
    return [waited for waited in waits() if waited is not None]
