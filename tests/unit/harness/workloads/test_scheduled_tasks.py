"""The tasks of a workload at times of a load: all of them, in their order, each with its own work and gate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.faults.process import kill_pool
from harness.load.planned_load import PlannedLoad
from harness.scenario import PoolNeeds, Scenario
from harness.scenario.run_plan import RunPlan
from harness.targets.agentexec_target import TARGET
from harness.workloads.base import Workload
from harness.workloads.generator import times
from harness.workloads.locked_tasks import LockedTasks
from harness.workloads.numbered_tasks import NumberedTasks
from harness.workloads.scheduled_tasks import ScheduledTasks

SEED = 7


@pytest.mark.parametrize("inner", [NumberedTasks(), LockedTasks()])
@pytest.mark.parametrize("number", [1, 19, 20, 100, 401])
def test_each_time_has_a_task_of_the_workload(inner: Workload, number: int) -> None:
    due = tuple(0.5 + 0.01 * index for index in range(number))
    scheduled = ScheduledTasks(tasks=inner, due=due)
    tasks = scheduled.number(SEED)
    arrivals = list(scheduled.generator(seed=SEED, tasks=tasks, gated=(1,)))
    assert times(arrivals) == pytest.approx(due)
    plain = list(inner.generator(seed=SEED, tasks=tasks, gated=(1,)))
    assert [replace(one, delay=0.0) for one in arrivals] == [replace(one, delay=0.0) for one in plain]
    last = scheduled.final_generator(seed=SEED, tasks=tasks)
    assert [one.task.number for one in last] == list(range(number + 1, tasks + 1))


def test_a_plan_has_the_times_of_the_load_and_the_time_for_it() -> None:
    scenario = Scenario(
        name="one",
        summary="one",
        workload=NumberedTasks(rate=1.0, work=(0.0, 0.0)),
        faults=(kill_pool(at=0.5),),
        checkers={},
        pool=PoolNeeds(),
        timeout=60.0,
    )
    load = PlannedLoad.of("hold(100, '15s'), hold(1, '100s')", seed=SEED, thresholds=[], lateness=0.05)
    loaded, tasks = load.applied(scenario, SEED)
    plan = RunPlan.of(loaded, TARGET, seed=SEED, tasks=tasks)
    assert plan.scenario.timeout == 60.0 + 1.25 * 115.0
    assert plan.tasks > len(load.due) > 1500
    # Of the first thousand tasks, which arrive in 10 s, nothing follows about the others.
    assert 115 < plan.seconds < 130
    assert plan.few_enough_tasks is None
    assert plan.enough_rate is None
