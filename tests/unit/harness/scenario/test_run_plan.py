"""A run that cannot end in time is refused before anything starts, with the options that it needs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import chaos
from harness.checkers.base import Checker
from harness.environments.base import Endpoints
from harness.errors import UsageError
from harness.faults.pausing import PauseWorker, StallServer
from harness.faults.process import kill_pool
from harness.history import Recorder
from harness.history.promises import Loss, Promises
from harness.scenario import SOAK, PoolNeeds, Scenario
from harness.scenario.run_plan import FIXED_SECONDS, RunPlan, require_time
from harness.scenario.schedule import Schedule
from harness.targets.base import TargetSession, TargetSettings, TaskFeature
from harness.workloads.generator import Arrival, times
from harness.workloads.locked_tasks import LockedTasks
from harness.workloads.numbered_tasks import NumberedTasks


@dataclass(frozen=True, kw_only=True)
class Promising:
    """A target that is planned for and never opened."""

    made: Promises | Exception = field(default_factory=Promises)
    name: str = "promising"
    features: tuple[TaskFeature, ...] = tuple(TaskFeature)

    def version(self) -> str:
        return "1"

    def promises(self, settings: TargetSettings) -> Promises:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        raise AssertionError("a plan opens nothing")


PLAIN = Promising()
ONE_SLOT = Promising(made=Promises(slots_per_worker=1))
SCENARIO = Scenario(
    name="plain",
    summary="a test",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=(kill_pool(at=0.3), kill_pool(at=0.6)),
    checkers={},
    pool=PoolNeeds(workers=2, concurrency=4),
)


def plan(scenario: Scenario = SCENARIO, target: Promising = PLAIN, **options: Any) -> RunPlan:
    return RunPlan.of(scenario, target, **{"seed": 1, "tasks": 240, **options})


def refusal(*plans: RunPlan) -> str:
    with pytest.raises(UsageError) as refused:
        require_time(plans)
    return str(refused.value)


def test_a_plan_of_few_tasks_is_exact_and_of_many_in_proportion() -> None:
    schedule = Schedule.of(SCENARIO, seed=1, tasks=240)
    arriving = times(schedule.arrivals)[-1] + times(schedule.final)[-1]
    assert plan().seconds == pytest.approx(FIXED_SECONDS + arriving)
    assert plan(tasks=100_000_000).seconds == pytest.approx(5_000_000, rel=0.1)


def test_a_run_that_fits_is_not_refused_and_keeps_its_scenario() -> None:
    require_time([plan()])
    assert plan().scenario is SCENARIO
    assert plan().notes == ()


def test_a_run_that_cannot_end_in_time_is_refused_with_what_it_needs() -> None:
    assert re.fullmatch(
        r"plain takes at least 2\d\d s with 5000 tasks at 20 a second, and its time-out is 60 s\. "
        r"Give --timeout \d+, or --tasks \d+\.",
        refusal(plan(tasks=5000)),
    )


@pytest.mark.parametrize("name", ["rate", "timeout"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -1.0, "fast", True])
def test_a_rate_or_time_out_that_is_no_number_above_0_is_refused(name: str, value: object) -> None:
    """A Python caller, such as the marker of pytest, has no parser that would refuse it."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=f"^{name}=.* is no number above 0"):
        plan(**options)


@pytest.mark.parametrize(
    "name", sorted(name for name, one in chaos.SCENARIOS.items() if SOAK not in one.tags)
)
@pytest.mark.parametrize("tasks", [2500, 5000, 40_000])
def test_each_option_that_a_refusal_proposes_is_enough(name: str, tasks: int) -> None:
    scenario = chaos.SCENARIOS[name]
    proposed = re.findall(r"--(timeout|rate|tasks) (\d+)", refusal(plan(scenario, tasks=tasks)))
    assert dict(proposed).keys() >= {"timeout", "tasks"}
    for option, value in proposed:
        asked: dict[str, Any] = {"tasks": tasks, option: int(value)}
        require_time([plan(scenario, PLAIN, **asked)])


@pytest.mark.parametrize("name", sorted(chaos.SCENARIOS))
def test_the_default_number_of_tasks_fits_into_every_scenario(name: str) -> None:
    for seed in range(20):
        require_time([plan(chaos.SCENARIOS[name], seed=seed)])


def test_a_rate_is_proposed_only_if_the_slots_keep_up_with_it() -> None:
    assert "--rate" in refusal(plan(tasks=1500))
    assert "--rate" not in refusal(plan(tasks=5000))
    tied = replace(SCENARIO, workload=LockedTasks(tasks=NumberedTasks(rate=20.0), keys=1, locked=1.0))
    assert plan(tied).seconds > 2 * plan().seconds
    assert "--rate" not in refusal(plan(tied, tasks=800))


def test_work_that_the_slots_cannot_do_in_time_counts_and_so_do_long_faults() -> None:
    slow = replace(SCENARIO, workload=NumberedTasks(rate=20.0, work=(2.0, 2.0)))
    assert plan(slow).seconds == pytest.approx(FIXED_SECONDS + 240 * 2 / 8)
    assert len(plan(slow).notes) == 1
    long = replace(SCENARIO, faults=(PauseWorker(at=0.5, seconds=30.0), PauseWorker(at=0.6, seconds=30.0)))
    assert plan(long).seconds > 60 + 5
    promised = replace(SCENARIO, faults=(PauseWorker(at=0.9),))
    patient = Promising(made=Promises(takes_over_after=100.0))
    assert plan(promised, patient).seconds > 100 > plan(promised).seconds


def test_a_target_with_fewer_slots_gets_less_work_and_more_time_and_a_note_says_so() -> None:
    found = plan(target=ONE_SLOT)
    assert isinstance(found.scenario.workload, NumberedTasks)
    assert (found.scenario.workload.rate, found.scenario.timeout) == (5.0, 240.0)
    assert found.utilization == pytest.approx(plan().utilization)
    assert found.notes == (
        "the target promises 2 slots, and the scenario offers work for 8: 5 instead of 20 tasks a second arrive, "
        "and the time-out is 240 instead of 60 s",
    )
    require_time([found])
    more = Promising(made=Promises(slots_per_worker=100))
    assert plan(target=more).scenario is SCENARIO


def test_a_rate_and_a_time_out_that_were_asked_for_are_kept_for_every_target() -> None:
    found = plan(target=ONE_SLOT, rate=30.0, timeout=90.0)
    assert isinstance(found.scenario.workload, NumberedTasks)
    assert (found.scenario.workload.rate, found.scenario.timeout) == (30.0, 90.0)
    [note] = found.notes
    assert note.endswith("times as much work arrives as the slots of a pool can do")


@dataclass(frozen=True, kw_only=True)
class Unpaced:
    """A workload without a rate, as an older package has it."""

    name: str = "unpaced"

    def client(self, session: TargetSession, recorder: Recorder) -> Any:
        raise AssertionError("a plan submits nothing")

    def generator(self, *, seed: int, tasks: int, gated: Any) -> Iterator[Arrival]:
        return NumberedTasks().generator(seed=seed, tasks=tasks, gated=gated)

    def final_generator(self, *, seed: int, tasks: int) -> Iterator[Arrival]:
        return NumberedTasks().final_generator(seed=seed, tasks=tasks)

    def checkers(self) -> Mapping[str, Checker]:
        return {}


def test_a_workload_without_a_rate_is_planned_and_its_rate_stays() -> None:
    scenario = replace(SCENARIO, workload=Unpaced())
    assert refusal(plan(scenario, tasks=5000)).startswith("plain takes at least 2")
    assert plan(scenario, ONE_SLOT).notes[0] == (
        "the target promises 2 slots, and the scenario offers work for 8; "
        "its workload has no rate that could be lowered"
    )
    with pytest.raises(UsageError, match="The workload unpaced of plain has no rate that could be changed"):
        plan(scenario, rate=5.0)


def test_several_runs_are_refused_together_with_one_proposal_for_all() -> None:
    slow = replace(SCENARIO, name="slow", workload=NumberedTasks(rate=5.0))
    said = refusal(plan(), plan(tasks=5000), plan(slow, tasks=5000))
    assert said.startswith("slow takes at least 1032 s")
    assert "(1 more of the scenarios take too long)" in said
    assert "--rate" not in said
    [(_, timeout), (_, tasks)] = re.findall(r"--(timeout|tasks) (\d+)", said)
    require_time([plan(one, tasks=5000, timeout=int(timeout)) for one in (SCENARIO, slow)])
    require_time([plan(one, tasks=int(tasks)) for one in (SCENARIO, slow)])


def test_promises_that_cannot_be_read_are_a_wrong_request() -> None:
    with pytest.raises(UsageError, match="The promises of the target promising cannot be read: KeyError"):
        plan(target=Promising(made=KeyError("lease")))
    assert plan(target=Promising()).promises == Promises()


def test_too_few_tasks_for_the_faults_are_refused_as_before() -> None:
    with pytest.raises(UsageError, match="1 task is too few for the 2 faults"):
        plan(tasks=1)


SLOW = Promising(made=Promises(recovers_within={Loss.POOL_KILLED: 75.0}, takes_over_after=61.0))


def test_a_long_promised_recovery_has_its_time() -> None:
    found = plan(target=SLOW)
    assert (found.patience, plan().patience) == (75.0, 10.0)
    assert found.scenario.timeout == 60.0 + 2 * (75.0 - 10.0)
    assert found.notes == ("the target promises a recovery within 75 s: the time-out is 190 instead of 60 s",)
    assert plan(target=SLOW, timeout=90.0).scenario.timeout == 90.0
    quick = Promising(made=Promises(recovers_within={Loss.BROKER_EMPTIED: 75.0}))
    assert plan(target=quick).scenario is SCENARIO


def test_a_patience_that_was_asked_for_leaves_the_time_out() -> None:
    found = plan(target=SLOW, patience=3.0)
    assert found.patience == 3.0
    assert found.scenario is SCENARIO


def test_the_patience_knows_what_a_fault_kills_besides_its_own_loss() -> None:
    frozen = replace(SCENARIO, faults=(StallServer(service="redis", at=0.5, seconds=5.0, kill=True),))
    made = Promising(made=Promises(recovers_within={Loss.WORKER_KILLED: 75.0}))
    assert plan(frozen, made).patience == 75.0


@pytest.mark.parametrize(("silence", "patience"), [(0.1, 5.0), (4.0, 8.0), (10.0, 20.0), (61.0, 71.0)])
def test_the_patience_is_a_reserve_above_the_time_until_others_take_over(
    silence: float, patience: float
) -> None:
    assert plan(target=Promising(made=Promises(takes_over_after=silence))).patience == patience
