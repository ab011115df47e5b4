"""Cells of fault, call and state: each strike is in that of its moment, and in two groups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentexec.store.status import TERMINAL, Status
from harness.simulation import Plan, simulate
from harness.simulation.coverage import _stage
from harness.simulation.lives import LIVES, strikes_at
from harness.simulation.plan import FaultKind, SimulatedFault
from harness.simulation.simulation import SimulationResult

PLAIN = LIVES["plain"]


def struck(call: str, kind: FaultKind, *, after: bool, life: Plan = PLAIN) -> SimulationResult:
    """A life with one fault at the first call of this name."""
    points = simulate(life).points
    number = next(n for n, point in enumerate(points) if point.after and call in point.calls) - (not after)
    fault = next(one for one in strikes_at(number, points[number]) if one.kind is kind)
    return simulate(replace(life, faults=(*life.faults, fault)))


@pytest.mark.parametrize(
    ("call", "kind", "after", "cell"),
    [
        ("enqueue", FaultKind.LOSE_REPLY, True, "after enqueue of producer: queued, ready"),
        ("enqueue", FaultKind.LOSE_REQUEST, False, "before enqueue of producer: queued, unknown"),
        ("start-commit", FaultKind.KILL_WORKER, False, "before transaction of worker: queued, lease live"),
        ("start-commit", FaultKind.KILL_WORKER, True, "after start-commit of worker: running, lease live"),
        ("finish-commit", FaultKind.LOSE_REPLY, True, "after finish-commit of worker: complete, lease live"),
        ("end-rebuild", FaultKind.KILL_PARENT, False, "before end-rebuild of pool: no task, in rebuild"),
    ],
)
def test_a_fault_at_a_call_is_in_the_cell_of_its_task(
    call: str, kind: FaultKind, after: bool, cell: str
) -> None:
    assert struck(call, kind, after=after).cells == {f"{kind.value}, {cell}"}


def test_a_fault_of_a_server_is_in_the_cells_of_all_tasks_that_are_not_over() -> None:
    outcome = struck("start-commit", FaultKind.REDIS_FORGETS, after=True, life=LIVES["lock"])
    assert outcome.cells == {
        f"redis-forgets, at any moment: {s}" for s in ("running, lease live", "queued, parked")
    }


@pytest.mark.parametrize(
    ("call", "kind", "after", "groups"),
    [
        (
            "enqueue",
            FaultKind.KILL_PRODUCER,
            False,
            {"stopped, before enqueue of producer", "kill-producer: in the record only"},
        ),
        (
            "start-commit",
            FaultKind.STALL_WORKER,
            True,
            {"stopped, after start-commit of worker", "stall-worker: running"},
        ),
        (
            "finish-commit",
            FaultKind.REDIS_FORGETS,
            True,
            {"redis-forgets, at any moment", "redis-forgets: over in the record only"},
        ),
        (
            "end-rebuild",
            FaultKind.LOSE_REQUEST,
            False,
            {"request lost, before end-rebuild of pool", "lose-request: no task, in rebuild"},
        ),
        (
            "end-rebuild",
            FaultKind.LATE_REQUEST,
            False,
            {"request late, before end-rebuild of pool", "late-request: no task, in rebuild"},
        ),
    ],
)
def test_a_fault_is_in_a_group_of_its_call_and_in_one_of_the_stage_of_its_task(
    call: str, kind: FaultKind, after: bool, groups: set[str]
) -> None:
    assert struck(call, kind, after=after).groups == groups


def test_a_stage_says_whether_the_record_and_the_queue_agree() -> None:
    places = ("unknown", "ready", "scheduled", "parked", "leased", "dead")
    stages = {
        status: [_stage(status, found, rebuild=False) for found in places]
        for status in (Status.QUEUED, Status.RUNNING)
    }
    waiting, revoked = ["waiting"] * 3, ["revoked in the queue only"] * 3
    assert stages[Status.QUEUED] == ["in the record only", *waiting, "claimed in the queue only", "waiting"]
    assert stages[Status.RUNNING] == ["in the record only", *revoked, "running", revoked[0]]
    for status in TERMINAL:
        over = [_stage(status, found, rebuild=False) for found in places]
        assert over == ["over", *["over in the record only"] * 4, "over"]
    assert {_stage("queued", found, rebuild=True) for found in places} == {
        "in the record only",
        "in the queue",
    }


@pytest.mark.parametrize(
    ("workers", "state"), [(1, "running, lease expired"), (2, "running, lease live of another")]
)
def test_an_expired_lease_and_one_of_another_worker_are_other_states(workers: int, state: str) -> None:
    life = replace(PLAIN, workers=workers, tasks=(replace(PLAIN.tasks[0], work=6.0),))
    points = simulate(life).points
    started = next(n for n, point in enumerate(points) if "start-commit" in point.calls)
    stall = SimulatedFault(kind=FaultKind.STALL_WORKER, at=0.0, after=True, seconds=4.0, point=started)
    stalled = simulate(replace(life, faults=(stall,))).points
    renewal = next(
        n
        for n, point in enumerate(stalled)
        if n > started and point.process.name == points[started].process.name and point.request == "renew"
    )
    lost = SimulatedFault(kind=FaultKind.LOSE_REQUEST, at=0.0, point=renewal)
    outcome = simulate(replace(life, faults=(stall, lost)))
    assert f"lose-request, before renew of worker: {state}" in outcome.cells
    assert "lose-request: lease lost" in outcome.groups
