"""What a generator pays for each arrival of a load: its intended time, and its latency in a histogram."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import islice

from harness.load.histogram import LatencyHistogram
from harness.load.schedule import LoadSchedule
from harness.load.stages import Stages, burst, diurnal, hold, ramp, repeat
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure

ARRIVALS = 200_000
_SHAPES: dict[str, Stages] = {
    "hold": hold(1000),
    "ramp": repeat(ramp(100, 1900, "1m")),
    "burst": burst(100, 4600),
    "diurnal": diurnal(100, 1900, period="1m"),
}


def schedule(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Microseconds of CPU per arrival: 1,000 a second cost a thousandth of a core for each microsecond."""
    size = environment.scaled(ARRIVALS)
    found = [
        _measured(f"intended time, {name}", size, repeats, partial(_arrivals, stages, size))
        for name, stages in _SHAPES.items()
    ]
    return [*found, _measured("latency recorded", size, repeats, partial(_records, size))]


def _arrivals(stages: Stages, size: int) -> None:
    for _ in islice(LoadSchedule(stages=stages).arrivals(), size):
        pass


def _records(size: int) -> None:
    latencies = LatencyHistogram()
    for number in range(size):
        latencies.record(0.001 + number * 1e-6)


def _measured(name: str, size: int, repeats: int, work: Callable[[], None]) -> BenchResult:
    values = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        values.append((time.process_time() - began) / size * 1e6)
    return BenchResult(figure=Figure(name=name, unit="µs", values=tuple(values), higher_is_better=False))
