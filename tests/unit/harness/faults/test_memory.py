"""Workers that run out of memory: on a small pool of real processes, whose handler leaks at its gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.environments.memory_group import why_no_group
from harness.environments.reaper import MEMORY_GROUPS
from harness.faults import memory
from harness.faults.base import Fault
from harness.faults.memory import ExceedMemoryGroup, ExhaustMemory, KillLeakingWorker
from harness.history.promises import Promises
from harness.kit.harness_worker import actions
from harness.processes import is_alive
from tests.unit.harness.faults.test_process import Field, field

__all__ = ["field"]


def test_a_worker_at_its_limit_goes_on_once_the_handler_gives_back(field: Field, eventually: Any) -> None:
    [worker] = field.pool.worker_pids()
    before = psutil.Process(worker).rlimit(psutil.RLIMIT_DATA)
    told = field.carry_out(ExhaustMemory(at=0.0, megabytes=8, seconds=0.3)).value
    assert (told["kind"], told["loss"], told["seconds"]) == ("pause", "worker-out-of-memory", 0.3)
    assert psutil.Process(worker).rlimit(psutil.RLIMIT_DATA) == before
    eventually(lambda: field.finished() == {worker}, deadline=20.0)


def test_a_leaking_worker_is_killed_and_replaced(field: Field, eventually: Any) -> None:
    operation = field.carry_out(KillLeakingWorker(at=0.0, megabytes=16))
    [victim] = operation.value["pids"]
    assert (operation.f, operation.value["kind"]) == ("kill-leaking-worker", "kill")
    assert not is_alive(victim)
    eventually(lambda: victim not in field.finished() != set(), deadline=20.0)


@pytest.mark.parametrize(
    "fault", [ExhaustMemory(at=0.0), KillLeakingWorker(at=0.0)], ids=lambda fault: fault.name
)
def test_a_handler_that_does_not_leak_is_no_fault(
    field: Field, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MOST_MEGABYTES", 0)
    monkeypatch.setattr(memory, "MEGABYTE", 2**30)
    field.gates.wait_for("task-1")
    field.context = replace(field.context, patience=0.3)
    field.promise(Promises())
    [missed] = field.inject(fault)
    assert "was asked to leak memory, and did not" in missed
    assert all(map(is_alive, field.pool.worker_pids()))


@pytest.fixture
def grouped(field: Field) -> Field:
    """The field, if this machine has memory cgroups."""
    if (why := why_no_group()) is not None:
        pytest.skip(why)
    environment: Any = SimpleNamespace(folder=field.folder)
    field.context = replace(field.context, environment=environment)
    field.promise(Promises())
    return field


def groups_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text("utf-8")


def noted(field: Field) -> list[Path]:
    return [Path(line) for line in (field.folder / MEMORY_GROUPS).read_text("utf-8").splitlines()]


def test_the_kernel_kills_a_worker_that_exceeds_its_group(grouped: Field, eventually: Any) -> None:
    assert grouped.inject(ExceedMemoryGroup(at=0.0, megabytes=16)) == []
    inject, heal = grouped.history().by_process("nemesis")
    [victim] = inject.value["pids"]
    assert (inject.f, inject.value["kind"], heal.value["kills"]) == ("exceed-memory-group", "kill", 1)
    assert not is_alive(victim)
    assert not any(group.exists() for group in noted(grouped))
    eventually(lambda: victim not in grouped.finished() != set(), deadline=20.0)


def test_a_worker_that_the_kernel_spares_is_in_its_own_group_again(
    grouped: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    [worker] = grouped.pool.worker_pids()
    before = groups_of(worker)
    monkeypatch.setattr(memory, "_MOST_MEGABYTES", 0)
    grouped.gates.wait_for("task-1")
    grouped.context = replace(grouped.context, patience=0.3)
    grouped.promise(Promises())
    [missed] = grouped.inject(ExceedMemoryGroup(at=0.0))
    assert "the kernel did not kill its worker" in missed
    assert groups_of(worker) == before
    assert not any(group.exists() for group in noted(grouped))


def test_a_handler_takes_no_more_than_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def piece(size: int) -> bytes:
        taken.append(size)
        return b""

    monkeypatch.setattr(actions, "_piece", piece)
    actions.carry_out("leak 3 0")
    assert taken == [2**20] * 3


def test_a_handler_takes_smaller_pieces_near_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [2**20 + 2**18]

    def piece(size: int) -> bytes | None:
        if size > left[0]:
            return None
        left[0] -= size
        return b""

    monkeypatch.setattr(actions, "_piece", piece)
    actions.carry_out("leak 100 0")
    assert left == [0]
