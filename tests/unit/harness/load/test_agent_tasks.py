"""The workload of agent requests, as a pure function of its seed."""

from __future__ import annotations

from itertools import islice

import pytest

from harness.load.agent_tasks import WORKLOAD, AgentTasks
from harness.load.agents import AgentModel, preset
from harness.scenario import registry
from harness.scenario.run_plan import with_workload
from harness.workloads.base import PacedWorkload


def test_both_generators_together_make_every_task_as_long_as_the_requests_of_the_model() -> None:
    workload = AgentTasks(time_scale=0.01, longest=3.0)
    first = list(workload.generator(seed=3, tasks=100, gated=(5,)))
    last = list(workload.final_generator(seed=3, tasks=100))
    tasks = [arrival.task for arrival in (*first, *last)]
    works = list(islice(AgentModel(preset("coding-agent"), 3).works(), 100))
    assert [task.number for task in tasks] == list(range(1, 101))
    assert [task.work for task in tasks] == [min(3.0, work.seconds * 0.01) for work in works]
    assert [task.lock for task in tasks] == [work.conversation for work in works]
    assert tasks[4].gate is not None
    assert max(task.work for task in tasks) == 3.0


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[object]:
        return list(WORKLOAD.generator(seed=seed, tasks=50, gated=()))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_scenario_takes_it_by_name_at_its_own_rate() -> None:
    scenario = registry.scenario("kill-worker-mid-task")
    assert isinstance(scenario.workload, PacedWorkload)
    changed = with_workload(scenario, registry.workload("agent-tasks"))
    assert isinstance(changed.workload, AgentTasks)
    assert changed.workload.rate == pytest.approx(scenario.workload.rate)
    assert changed.faults == scenario.faults
