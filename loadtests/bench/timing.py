"""Measures three times: to begin a task on an idle queue, to run a killed pool's tasks again, to end a pool."""

from __future__ import annotations

import asyncio
import signal
import time

import agentexec as ax
from harness.history import OperationType
from harness.history.figures import seconds
from harness.history.runs import runs
from loadtests.bench.app import Sleep
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, PoolProcess, rank, until

SAMPLES = 300
TASKS = 40
# Seconds of work of a task.
WORK = 1.0
SHORT = 0.3


def pick_up(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Milliseconds from the return of `enqueue` to the first line of the handler, on an idle queue."""
    rounds = [_pick_up_times(environment, environment.scaled(SAMPLES)) for _ in range(repeats)]
    return [
        BenchResult(
            figure=Figure(
                name=f"pick-up on an idle queue, p{percent}",
                unit="ms",
                values=tuple(rank(times, percent / 100) for times in rounds),
                higher_is_better=False,
            )
        )
        for percent in (50, 99)
    ]


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


def _pick_up_times(environment: BenchEnvironment, samples: int) -> list[float]:
    with environment.client() as client, environment.pool(client, workers=1, concurrency=4) as pool:
        returned = asyncio.run(_enqueue_one_by_one(client, samples))
        began = {run.task: run.begun.time for run in runs(pool.history())}
    return [max(0.0, seconds(began[number] - at) * 1e3) for number, at in returned.items() if number > 0]


async def _enqueue_one_by_one(client: ax.Client, samples: int) -> dict[int, int]:
    returned: dict[int, int] = {}
    for number in range(samples + 1):  # the first one waits for the pool to start
        await client.enqueue("bench.sleep", Sleep(number=number))
        returned[number] = time.monotonic_ns()
        await asyncio.to_thread(until, lambda: client.queue.depth().known == 0, step=0.002)
    return returned


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
