"""Schedules are pure functions of their seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chaos
from harness.errors import UsageError
from harness.scenario import Scenario
from harness.scenario.schedule import Schedule
from harness.workloads.base import PacedWorkload
from harness.workloads.generator import numbered_tasks, times
from harness.workloads.locked_tasks import LockedTasks
from harness.workloads.numbered_tasks import WORKLOAD
from harness.workloads.versioned_tasks import VersionedTasks

SEEDS = st.integers(min_value=-(2**63), max_value=2**63)
SCENARIOS = pytest.mark.parametrize("name", sorted(chaos.SCENARIOS))


@given(seed=SEEDS, tasks=st.integers(min_value=1, max_value=60))
def test_the_same_seed_gives_the_same_stream(seed: int, tasks: int) -> None:
    first, second = (
        list(numbered_tasks(seed=seed, tasks=tasks, rate=20.0, work=(0.1, 0.2))) for _ in range(2)
    )
    assert first == second
    assert [arrival.task.number for arrival in first] == list(range(1, tasks + 1))
    assert all(0.1 <= arrival.task.work <= 0.2 and arrival.delay >= 0 for arrival in first)


def test_another_seed_gives_another_stream() -> None:
    one, other = (list(numbered_tasks(seed=seed, tasks=50, rate=20.0, work=(0.1, 0.2))) for seed in (1, 2))
    assert one != other


@given(seed=SEEDS)
def test_gates_change_nothing_but_who_waits(seed: int) -> None:
    plain = list(numbered_tasks(seed=seed, tasks=30, rate=20.0, work=(0.1, 0.2)))
    gated = list(numbered_tasks(seed=seed, tasks=30, rate=20.0, work=(0.1, 0.2), gated=(3, 17)))
    assert times(plain) == times(gated)
    assert [arrival.task.work for arrival in plain] == [arrival.task.work for arrival in gated]
    assert {a.task.number: a.task.gate for a in gated if a.task.gate} == {3: "task-3", 17: "task-17"}


def test_arrivals_come_at_the_rate_that_was_asked_for() -> None:
    due = times(numbered_tasks(seed=5, tasks=4000, rate=20.0, work=(0.0, 0.0)))
    assert due[-1] == pytest.approx(200, rel=0.1)
    assert due == sorted(due)


@pytest.mark.parametrize("workload", [WORKLOAD, LockedTasks(keys=2), VersionedTasks(new=0.2)])
def test_another_rate_changes_the_times_of_the_same_tasks_and_nothing_else(workload: PacedWorkload) -> None:
    slower = workload.with_rate(workload.rate / 4)
    assert type(slower) is type(workload)
    assert slower.rate == workload.rate / 4
    plain, slow = (list(one.generator(seed=3, tasks=100, gated=(5,))) for one in (workload, slower))
    assert [arrival.task for arrival in plain] == [arrival.task for arrival in slow]
    assert times(slow) == pytest.approx([at * 4 for at in times(plain)])
    assert slower.with_rate(workload.rate) == workload


@given(seed=SEEDS, tasks=st.integers(min_value=1, max_value=300))
def test_generator_and_final_generator_together_make_all_tasks_once(seed: int, tasks: int) -> None:
    first = WORKLOAD.generator(seed=seed, tasks=tasks, gated=())
    last = WORKLOAD.final_generator(seed=seed, tasks=tasks)
    assert [arrival.task.number for arrival in (*first, *last)] == list(range(1, tasks + 1))


@SCENARIOS
def test_a_scenario_repeats_its_schedule_with_its_seed(name: str) -> None:
    scenario = chaos.SCENARIOS[name]
    assert Schedule.of(scenario, seed=9, tasks=240) == Schedule.of(scenario, seed=9, tasks=240)
    assert Schedule.of(scenario, seed=9, tasks=240) != Schedule.of(scenario, seed=10, tasks=240)


@SCENARIOS
def test_every_gate_that_a_fault_waits_at_is_on_the_way_of_a_task(name: str) -> None:
    schedule = Schedule.of(chaos.SCENARIOS[name], seed=9, tasks=240)
    aimed = {planned.gate for planned in schedule.faults if planned.fault.gated}
    assert aimed == {arrival.task.gate for arrival in schedule.arrivals if arrival.task.gate}
    assert len(schedule.faults) == len(chaos.SCENARIOS[name].faults)


def test_faults_at_random_moments_keep_their_order_and_move_with_the_seed() -> None:
    scenario = chaos.SCENARIOS["kill-worker-mid-task"]
    moments = {
        tuple(f.moment for f in Schedule.of(scenario, seed=seed, tasks=240).faults if f.moment is not None)
        for seed in range(20)
    }
    assert len(moments) == 20
    assert all(len(found) == 3 and list(found) == sorted(found) for found in moments)


def places_at_gates(scenario: Scenario) -> set[float]:
    """Where faults wait for a task; those at one place wait for the same one."""
    return {fault.at for fault in scenario.faults if fault.gated}


@pytest.mark.parametrize(
    "name", [name for name, one in chaos.SCENARIOS.items() if len(places_at_gates(one)) > 1]
)
def test_too_few_tasks_for_the_faults_that_wait_for_one_are_refused(name: str) -> None:
    scenario = chaos.SCENARIOS[name]
    few = min(3, len(places_at_gates(scenario)) - 1)
    with pytest.raises(UsageError, match=rf"^{few} tasks? (is|are) too few"):
        Schedule.of(scenario, seed=9, tasks=few)
