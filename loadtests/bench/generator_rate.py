"""The highest rate of one generator process on one core, against real servers on the other cores."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil

from harness.environments.urls import database_name
from harness.load.generator import LocustCommand, run_locust
from loadtests.bench.app import STEP_RATES, step_task
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, until

LATE_P99_SECONDS = 0.01
STEP_SECONDS = 8
ENV_CORE, ENV_SECONDS, ENV_SPENT = "BENCH_CORE", "BENCH_SECONDS", "BENCH_SPENT"
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RateStep:
    """One step: how late its tasks were sent (p99, in seconds), and the CPU time of the generator for all."""

    rate: int
    late_p99: float
    tasks: int
    cpu_seconds: float


def generator_rate(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """The highest rate with a p99 of LATE of at most 10 ms in this and all lower steps, and the CPU time of a task."""
    found = [_climb(environment) for _ in range(repeats)]
    highest = tuple(float(max((step.rate for step in held(steps)), default=0)) for steps in found)
    cpu = tuple(_cpu_ms(list(held(steps)) or steps) for steps in found)
    return [
        BenchResult(
            figure=Figure(name="rate of one generator core", unit="tasks/s", values=highest),
            note=f"LATE p99 at most {LATE_P99_SECONDS * 1000:g} ms, none dropped",
        ),
        BenchResult(
            figure=Figure(name="generator, CPU of a task", unit="ms", values=cpu, higher_is_better=False),
            note=", ".join(f"{step.rate}/s: {step.late_p99 * 1000:.1f} ms late" for step in found[-1]),
        ),
    ]


def held(steps: Sequence[RateStep]) -> Iterator[RateStep]:
    """The steps in which the generator was in time, up to the first in which it was not."""
    return itertools.takewhile(lambda step: step.late_p99 <= LATE_P99_SECONDS, steps)


def read_steps(document: Mapping[str, Any], spent: Sequence[float]) -> list[RateStep]:
    """The steps of a verdict.json; `spent` is the CPU time at the begin of each and at the end of the last."""
    found = []
    for index, (before, after) in enumerate(itertools.pairwise(spent)):
        rate = STEP_RATES[index]
        row = document["rows"][f"LATE {step_task(rate)}"]
        over = index == len(spent) - 2 and document["counts"]["dropped"]
        late = math.inf if over else row["latency"]["p99"]
        found.append(RateStep(rate=rate, late_p99=late, tasks=row["count"], cpu_seconds=after - before))
    return found


def _cpu_ms(steps: Sequence[RateStep]) -> float:
    return sum(step.cpu_seconds for step in steps) / sum(step.tasks for step in steps) * 1000


def _climb(environment: BenchEnvironment) -> list[RateStep]:
    seconds, folder = environment.scaled(STEP_SECONDS * 10) / 10, Path(mkdtemp(dir=environment.folder))
    with (
        _other_cores() as core,
        environment.client() as client,
        environment.pool(client, workers=1, concurrency=32),
    ):
        until(lambda: len(client.queue.registered()) >= 1)
        command = LocustCommand(
            file=Path(__file__).with_name("steps_load.py"),
            database=database_name(environment.endpoints.database_url),
            queue=client.queue.name,
            report=folder,
            options=["--load-canary", "0"],
        )
        variables = os.environ | {
            "DATABASE_URL": environment.endpoints.database_url,
            "REDIS_URL": environment.endpoints.redis_url,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]),
            ENV_CORE: core,
            ENV_SECONDS: str(seconds),
            ENV_SPENT: str(folder / "spent"),
        }
        run_locust(command, variables=variables, folder=folder, within=_PATIENCE_SECONDS)
    document, spent = (json.loads((folder / name).read_text("utf-8")) for name in ("verdict.json", "spent"))
    return read_steps(document, spent)


@contextmanager
def _other_cores() -> Iterator[str]:
    """Leave one core to the generator: this process, the servers and the pool use the others, if there are any."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        yield ""
        return
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # Postgres has processes that end again
            process.cpu_affinity(cores[1:])
    try:
        yield str(cores[0])
    finally:
        own.cpu_affinity(cores)
