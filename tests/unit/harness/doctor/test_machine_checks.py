"""The machine: what a container may use of it, and whether that is enough for the workers of a pool."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import psutil
import pytest

from harness.doctor import machine_checks
from harness.doctor.area import Area
from harness.doctor.check import Grade
from harness.doctor.examination import examine, grades
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS


@pytest.mark.parametrize(
    ("cores", "memory", "wrong"),
    [
        (2.0, 2.048e9, {}),
        (1.9, 2.048e9, {"machine.cores": Grade.WARN}),
        (2.0, 2.0e9, {"machine.memory": Grade.WARN}),
    ],
)
def test_each_worker_needs_half_a_core_and_512_mb(
    monkeypatch: pytest.MonkeyPatch, cores: float, memory: float, wrong: dict[str, Grade]
) -> None:
    monkeypatch.setenv("AGENTEXEC_NUM_WORKERS", "4")
    monkeypatch.setattr(machine_checks, "cores_here", lambda: cores)
    monkeypatch.setattr(machine_checks, "memory_here", lambda: memory)
    with Installation(DoctorOptions(environment={})) as site:
        checks = [one for one in CHECKS if one.area is Area.MACHINE]
        found = grades(examine(site, (), today=date(2026, 5, 1), checks=checks))
    assert found == dict.fromkeys(found, Grade.PASS) | wrong


@pytest.mark.parametrize(
    ("name", "text", "here", "expected"),
    [
        ("cpu.max", "50000 100000\n", machine_checks.cores_here, 0.5),
        ("memory.max", "1000000\n", machine_checks.memory_here, 1e6),
    ],
)
def test_the_limit_of_a_container_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str,
    here: Callable[[], float],
    expected: float,
) -> None:
    monkeypatch.setattr(machine_checks, "CGROUP", tmp_path)
    machine = here()
    for unlimited in ("max\n", "max 100000\n", ""):
        (tmp_path / name).write_text(unlimited)
        assert here() == machine
    assert machine <= max(float(psutil.cpu_count() or 1), psutil.virtual_memory().total)
    (tmp_path / name).write_text(text)
    assert here() == expected
