"""The CPU time and memory of an idle pool."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

import agentexec as ax
from loadtests.bench.app import Nothing
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, until

WORKERS = 4
WINDOW_SECONDS = 20.0
# After the last task, until imports and first connections are finished.
SETTLE_SECONDS = 5.0
# Enough tasks that every worker runs some of them.
WARM_UP_TASKS = 200
MEGABYTE = 1_000_000


def idle(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """CPU share of an idle pool of 4 workers and its parent, and the memory of its largest worker."""
    with environment.client() as client, environment.pool(client, workers=WORKERS, concurrency=8) as pool:
        until(lambda: len(client.queue.registered()) >= WORKERS)
        _warm(client)
        parent = psutil.Process(pool.process.pid)
        (fork_server,) = parent.children()
        workers = fork_server.children()
        time.sleep(SETTLE_SECONDS)
        used, largest = zip(
            *(_window([parent, fork_server, *workers], workers) for _ in range(repeats)), strict=True
        )
    name = f"idle pool of {WORKERS} workers"
    return [
        BenchResult(
            figure=Figure(name=f"{name}, of one core", unit="%", values=used, higher_is_better=False),
            note=f"{WINDOW_SECONDS:g} s each; less than 1 required",
        ),
        BenchResult(
            figure=Figure(name=f"{name}, its largest", unit="MB", values=largest, higher_is_better=False),
            note="resident; less than 120 required",
        ),
    ]


def _warm(client: ax.Client) -> None:
    client.enqueue_many_sync(
        [ax.TaskRequest(task_name="bench.nothing", context=Nothing(number=n)) for n in range(WARM_UP_TASKS)]
    )
    until(lambda: client.queue.depth().known == 0)


def _window(processes: Sequence[psutil.Process], workers: Sequence[psutil.Process]) -> tuple[float, float]:
    """Percent of one core during a window, and megabytes of the largest worker at its end."""
    before, began = _spent(processes), time.monotonic()
    time.sleep(WINDOW_SECONDS)
    used = 100 * (_spent(processes) - before) / (time.monotonic() - began)
    return used, max(worker.memory_info().rss for worker in workers) / MEGABYTE


def _spent(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))
