"""A scenario with another number of faults."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import chaos
from harness.errors import UsageError
from harness.faults.handler import PoisonTask
from harness.history import History
from harness.scenario import Scenario
from harness.scenario.scaling import with_faults
from harness.scenario.schedule import Schedule

FIXED = {
    "rolling-migration": "deploys another version",
    "rolling-deploy": "deploys another version",
    "poison-task-with-neighbours": "strikes one task several times",
    "mixed-soak": "strikes one task several times",
    "watch": "injects nothing",
}
MIXED = chaos.SCENARIOS["kill-worker-mid-task"]


def minima(scenario: Scenario) -> tuple[object, object]:
    figures = scenario.checkers["faults"](History(())).figures
    return figures["minimum_faults"], figures["minimum_kills"]


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 13, 30])
@pytest.mark.parametrize("name", sorted(set(chaos.SCENARIOS) - set(FIXED)))
def test_any_scenario_gets_any_number_of_faults_in_the_order_and_time_of_its_own(
    name: str, number: int
) -> None:
    own = chaos.SCENARIOS[name]
    other = with_faults(own, number)
    places = [fault.at for fault in other.faults]
    assert len(other.faults) == number
    assert places == sorted(places)
    assert own.faults[0].at == places[0]
    assert places[-1] <= own.faults[-1].at
    assert len(Schedule.of(other, seed=1, tasks=240).faults) == number
    assert other.timeout >= own.timeout


def test_its_own_number_changes_nothing() -> None:
    assert with_faults(MIXED, len(MIXED.faults)) is MIXED


def test_every_kind_of_fault_keeps_its_share() -> None:
    own = [fault.gated for fault in MIXED.faults]
    assert [fault.gated for fault in with_faults(MIXED, 16).faults] == [
        gated for gated in own for _ in range(2)
    ]
    assert [fault.gated for fault in with_faults(MIXED, 4).faults] == own[::2]


def test_as_many_faults_and_kills_are_required_in_proportion() -> None:
    assert minima(MIXED) == (5, 5)
    assert minima(with_faults(MIXED, 16)) == (10, 10)
    assert minima(with_faults(MIXED, 1)) == (1, 1)
    assert minima(with_faults(chaos.SCENARIOS["flush-redis"], 6)) == (6, 0)
    assert "faults" not in with_faults(replace(MIXED, checkers={}), 2).checkers


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_below_one_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match=f"kill-worker-mid-task cannot have {number} faults"):
        with_faults(MIXED, number)


def test_versions_and_faults_that_cannot_be_repeated_are_refused() -> None:
    for name, why in FIXED.items():
        with pytest.raises(UsageError, match=why):
            with_faults(chaos.SCENARIOS[name], 5)
    fault: Any = SimpleNamespace(name="mine", at=0.5)
    with pytest.raises(UsageError, match="The fault mine is no dataclass"):
        with_faults(replace(MIXED, faults=(fault,)), 2)


def test_faults_at_one_place_strike_the_same_task() -> None:
    scenario = chaos.SCENARIOS["poison-task-with-neighbours"]
    planned = Schedule.of(scenario, seed=1, tasks=60)
    [gate] = {fault.gate for fault in planned.faults}
    assert [arrival.task.gate for arrival in planned.arrivals if arrival.task.gate is not None] == [gate]
    assert [fault.last for fault in scenario.faults if isinstance(fault, PoisonTask)] == [False] * 7 + [True]
