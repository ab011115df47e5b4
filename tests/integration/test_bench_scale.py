"""The benchmarks at scale and over minutes work: small forms of both on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from loadtests.bench import endurance, scale
from loadtests.bench.bench import BenchEnvironment
from loadtests.bench.throughput import WORKERS

pytestmark = pytest.mark.integration


def test_both_sides_of_each_figure_are_measured(
    servers: EmbeddedEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "CALLS", 1)
    monkeypatch.setattr(scale, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(scale, "DRAINED", 2_000)
    cheap = {names: measure for names, measure in scale.MEASURES.items() if "awaited" in names[0][0]}
    monkeypatch.setattr(scale, "MEASURES", cheap)
    environment = BenchEnvironment(
        endpoints=servers.endpoints, folder=tmp_path, quick=True, finished=2_000, queued=500
    )
    found = {result.figure.name: result for result in scale.scale(environment, 1)}
    assert set(scale.CALLED) < set(found)
    assert all(found[name].ratios for name in scale.CALLED)
    assert found["list, page 1, beside dead rows"].ratios
    assert found["memory of Redis for each queued task"].figure.median > 100
    with scale.Side.of(environment) as side:
        rate, processor = scale._drain(side)
        side.clear()
    assert rate > 0
    assert processor > 0


def test_throughput_and_memory_are_sampled_and_the_run_ends(
    servers: EmbeddedEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endurance, "BATCH", 100)
    monkeypatch.setattr(endurance, "BACKLOG", 400)
    environment = BenchEnvironment(endpoints=servers.endpoints, folder=tmp_path, minutes=0.02)
    found = {result.figure.name: result for result in endurance.endurance(environment, 1)}
    assert len(found["throughput, each tenth"].figure.values) == endurance.TENTHS
    assert found["dead rows after the reader ended, and a vacuum"].figure.median == 0
    # The pool, its fork server, and its workers.
    assert len([name for name in found if name.startswith("memory of pool: ")]) == 2 + WORKERS
    assert found["memory of Redis: its data"].ratios
