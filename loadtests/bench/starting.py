"""How long a pool takes from the start of its process until its first task runs, by cause."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import psutil

import agentexec as ax
from harness.history.figures import seconds
from harness.history.runs import runs
from loadtests.bench.app import Sleep
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, in_turn, until

WORKERS = 2
# Each of them is a new process, to its end; the differences are the causes.
PROCESSES = {
    "an interpreter that does nothing": "pass",
    "`import agentexec`": "import agentexec",
    "what a pool and its workers import": "import agentexec.worker.process, psycopg",
    "the same with the module of the pool": "import agentexec.worker.process, psycopg, loadtests.bench.app",
}
STAGES = (
    "a worker is registered",
    "the first task runs",
    f"all {WORKERS} workers are registered",
    "processor time of all processes of the pool until then",
)


def start(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Milliseconds of each step, from the start of `agentexec worker` with a task in the queue; and of its parts."""
    scripts = in_turn(
        repeats, *(lambda script=script: _process_time(script) for script in PROCESSES.values())
    )
    found = dict(zip(PROCESSES, scripts, strict=True))
    _stages(environment)  # a warm-up
    rounds = [_stages(environment) for _ in range(repeats)]
    found |= dict(zip(STAGES, zip(*rounds, strict=True), strict=True))
    return [
        BenchResult(figure=Figure(name=f"start: {name}", unit="ms", values=values, higher_is_better=False))
        for name, values in found.items()
    ]


def _registered(client: ax.Client, number: int) -> bool:
    return len(client.queue.registered()) >= number


def _process_time(script: str) -> float:
    began = time.monotonic_ns()
    subprocess.run([sys.executable, "-c", script], check=True)
    return seconds(time.monotonic_ns() - began) * 1e3


def _stages(environment: BenchEnvironment) -> tuple[float, ...]:
    with environment.client() as client:
        client.enqueue_many_sync([ax.TaskRequest(task_name="bench.sleep", context=Sleep(number=0))])
        began = time.monotonic_ns()
        registered: list[int] = []
        with environment.pool(client, workers=WORKERS, concurrency=4) as pool:
            for number in range(1, WORKERS + 1):
                until(partial(_registered, client, number))
                registered.append(time.monotonic_ns())
            until(lambda: bool(runs(pool.history())))
            (first,) = runs(pool.history())
            parent = psutil.Process(pool.process.pid)
            spent = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
        times = registered[0], first.begun.time, registered[-1]
    return (
        *(seconds(moment - began) * 1e3 for moment in times),
        sum(one.user + one.system for one in spent) * 1e3,
    )
