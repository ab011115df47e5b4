"""Measures three times: to begin a task on an idle queue, to run a killed pool's tasks again, to end a pool."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

import agentexec as ax
from harness.history import OperationType
from harness.history.figures import seconds
from harness.history.runs import runs
from loadtests.bench.app import Sleep
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, PoolProcess, rank, until

SAMPLES = 300
EVERY = 0.02  # seconds between two calls
TASKS = 40
# Seconds of work of a task.
WORK = 1.0
SHORT = 0.3

# Waits after the call at this time until the next one is due.
Between = Callable[[ax.Client, int], Awaitable[None]]


def pick_up(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Milliseconds from the call of `enqueue`, and from its return, to the first line of the handler.

    Each task comes when the one before has ended, or one every 20 ms: then all threads and processes sleep before it.
    A handler that begins before the caller goes on counts as less than 0 from the return.
    """
    results: list[BenchResult] = []
    for pace, between in (("one after the other", _until_idle), ("one every 20 ms", until_next)):
        rounds = [pick_up_times(environment, between) for _ in range(repeats)]
        results += [
            BenchResult(
                figure=Figure(
                    name=f"pick-up from the {moment}, {pace}, p{percent}",
                    unit="ms",
                    values=tuple(rank(times[moment], percent / 100) for times in rounds),
                    higher_is_better=False,
                )
            )
            for moment in ("call", "return")
            for percent in (50, 99)
        ]
    return results


def recovery(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Seconds from SIGKILL of a whole pool until all of its 40 tasks run again, in a fresh one on the same host."""
    values = tuple(_recovery_time(environment) for _ in range(repeats))
    note = "includes the start of the new pool's processes"
    name = f"{TASKS} tasks of {WORK:g} s, pool killed, all running again"
    return BenchResult(figure=Figure(name=name, unit="s", values=values, higher_is_better=False), note=note)


def stop(environment: BenchEnvironment, repeats: int) -> BenchResult:
    """Seconds from the end of the last running task to the exit of a pool that got SIGTERM."""
    values = tuple(_stop_time(environment) for _ in range(repeats))
    name = "SIGTERM: exit after the last running task"
    return BenchResult(figure=Figure(name=name, unit="s", values=values, higher_is_better=False))


def pick_up_times(environment: BenchEnvironment, between: Between) -> dict[str, list[float]]:
    """Milliseconds from the call of `enqueue`, and from its return, to the first line of each handler."""
    samples = environment.scaled(SAMPLES)
    with environment.client() as client, environment.pool(client, workers=1, concurrency=4) as pool:
        enqueued = asyncio.run(_enqueue_one_by_one(client, samples, between))
        began = {run.task: run.begun.time for run in runs(pool.history())}
    del enqueued[0]  # it waited for the pool to start
    return {
        "call": [seconds(began[n] - called) * 1e3 for n, (called, _) in enqueued.items()],
        "return": [seconds(began[n] - returned) * 1e3 for n, (_, returned) in enqueued.items()],
    }


async def _enqueue_one_by_one(
    client: ax.Client, samples: int, between: Between
) -> dict[int, tuple[int, int]]:
    enqueued: dict[int, tuple[int, int]] = {}
    for number in range(samples + 1):
        called = time.monotonic_ns()
        await client.enqueue("bench.sleep", Sleep(number=number))
        enqueued[number] = called, time.monotonic_ns()
        await (between if number else _until_idle)(client, called)
    await _until_idle(client, called)
    return enqueued


async def _until_idle(client: ax.Client, _called: int) -> None:
    await asyncio.to_thread(until, lambda: client.queue.depth().known == 0, step=0.002)


async def until_next(_client: ax.Client, called: int) -> None:
    """Wait until the next call is due."""
    await asyncio.sleep(max(0.0, EVERY - seconds(time.monotonic_ns() - called)))


def _recovery_time(environment: BenchEnvironment) -> float:
    with environment.client() as client, environment.pool(client, workers=2, concurrency=TASKS // 2) as first:
        _fill(client, WORK)
        until(lambda: _begun(first) == TASKS)
        killed = time.monotonic_ns()
        first.kill()
        with environment.pool(client, workers=2, concurrency=TASKS // 2) as second:
            until(lambda: _begun(second) == TASKS)
            again = [run.begun.time for run in runs(second.history())]
        return seconds(max(again) - killed)


def _stop_time(environment: BenchEnvironment) -> float:
    with environment.client() as client, environment.pool(client, workers=2, concurrency=TASKS // 2) as pool:
        _fill(client, SHORT)
        until(lambda: _begun(pool) == TASKS)
        pool.process.send_signal(signal.SIGTERM)
        pool.process.wait()
        ended = time.monotonic_ns()
        last = max(op.time for op in pool.history().where("run", OperationType.OK))
        return seconds(ended - last)


def _fill(client: ax.Client, work: float) -> None:
    client.enqueue_many_sync(
        [ax.TaskRequest(task_name="bench.sleep", context=Sleep(number=n, seconds=work)) for n in range(TASKS)]
    )


def _begun(pool: PoolProcess) -> int:
    return len(runs(pool.history()))
