"""Cells of fault, call and state: each strike is in that of its moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.simulation import Plan, simulate
from harness.simulation.lives import LIVES, strikes_at
from harness.simulation.plan import FaultKind, SimulatedFault

PLAIN = LIVES["plain"]


def at(call: str, kind: FaultKind, *, after: bool, life: Plan = PLAIN) -> frozenset[str]:
    """The cells of a life with one fault at the first call of this name."""
    points = simulate(life).points
    number = next(n for n, point in enumerate(points) if point.after and call in point.calls) - (not after)
    fault = next(one for one in strikes_at(number, points[number]) if one.kind is kind)
    return simulate(replace(life, faults=(*life.faults, fault))).cells


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
    assert at(call, kind, after=after) == {f"{kind.value}, {cell}"}


def test_a_fault_of_a_server_is_in_the_cells_of_all_tasks_that_are_not_over() -> None:
    cells = at("start-commit", FaultKind.REDIS_FORGETS, after=True, life=LIVES["lock"])
    assert cells == {f"redis-forgets, at any moment: {s}" for s in ("running, lease live", "queued, parked")}


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
    cells = simulate(replace(life, faults=(stall, lost))).cells
    assert f"lose-request, before renew of worker: {state}" in cells
