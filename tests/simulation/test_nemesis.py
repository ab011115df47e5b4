"""The nemesis injects each fault, also if a process is stalled, idle or on another host."""

from __future__ import annotations

import pytest

from harness.simulation import Plan, plan_of, simulate
from harness.simulation.nemesis import KILLS_PER_SLOT
from harness.simulation.plan import FaultKind, PlannedTask, SimulatedFault
from harness.simulation.simulation import SimulationResult

BUSY = tuple(PlannedTask(number=number, at=0.2 * number, work=1.0) for number in range(20))


def run(*faults: SimulatedFault, workers: int = 1, pools: int = 1, hosts: int = 1) -> SimulationResult:
    return simulate(
        Plan(seed=1, pools=pools, workers=workers, hosts=hosts, tasks=BUSY, faults=faults), trace=True
    )


def struck(outcome: SimulationResult) -> list[tuple[float, str]]:
    """The time of each fault in seconds, and its victim."""
    return [
        (operation.time / 1e9, str(operation.value["at"]))
        for operation in outcome.history
        if operation.process == "nemesis"
    ]


def test_a_stalled_worker_is_not_chosen_while_another_runs() -> None:
    stall = SimulatedFault(kind=FaultKind.STALL_WORKER, at=1.0, victim=0, seconds=4.0)
    lose = SimulatedFault(kind=FaultKind.LOSE_REQUEST, at=1.5, victim=0)
    (_, stalled), (when, hit) = struck(run(stall, lose, workers=2))
    assert hit != stalled
    assert when < 3.0


def test_a_pending_fault_skips_no_more_calls_after_a_while() -> None:
    fault = SimulatedFault(kind=FaultKind.KILL_PARENT, at=0.5, skip=1000)
    ((when, _),) = struck(run(fault))
    assert 1.5 <= when < 4.0  # a second later, at one of the calls that a parent makes once a second


def test_kills_in_one_slot_of_a_pool_end_before_its_supervisor_waits_for_long() -> None:
    kills = [SimulatedFault(kind=FaultKind.KILL_WORKER, at=1.0) for _ in range(KILLS_PER_SLOT + 2)]
    assert [name for _, name in struck(run(*kills))] == ["pool-0/0"] * KILLS_PER_SLOT


def test_every_second_plan_has_two_hosts() -> None:
    two = sum(plan_of(seed).hosts == 2 for seed in range(400))
    assert 150 < two < 250


@pytest.mark.parametrize("hosts", [1, 2])
def test_only_on_its_own_host_a_dead_pool_is_known_as_dead_before_its_leases_end(hosts: int) -> None:
    # The second pool: the one that is started for it is on the first host again.
    killed = SimulatedFault(kind=FaultKind.KILL_POOL, at=2.0, victim=1)
    outcome = run(killed, pools=2, hosts=hosts)
    assert not outcome.findings
    lines = [text for _, _, text in outcome.trace]
    assert any("RELEASE" in text and "is free again" in text for text in lines) == (hosts == 1)
    assert any("revokes" in text for text in lines) == (hosts == 2)
