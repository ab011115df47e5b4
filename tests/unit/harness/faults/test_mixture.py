"""Faults of many kinds in one run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import chaos
from harness.faults import mixture
from harness.faults.chores import MigrateSchema
from harness.faults.full_disk import FillDisk
from harness.faults.handler import PoisonTask
from harness.faults.held_state import HoldState
from harness.faults.mixture import mixed, number_of_kinds

FAULTS = chaos.SCENARIOS["mixed-soak"].faults


def test_each_kind_is_there_about_equally_often_and_the_faults_are_spread_evenly() -> None:
    assert mixed(len(FAULTS), graceful=3.0) == FAULTS
    often = Counter(fault.name for fault in FAULTS)
    assert len(often) >= 50
    assert min(often.values()) >= 3
    places = [fault.at for fault in FAULTS]
    assert places == sorted(places)
    assert 0 < places[0] < places[-1] < 1


def test_each_fault_of_the_catalogue_is_there_unless_the_module_says_why_not() -> None:
    others = {type(fault) for scenario in chaos.SCENARIOS.values() for fault in scenario.faults}
    states = {type(fault.state) for fault in FAULTS if isinstance(fault, HoldState)}
    missing = {one.__name__ for one in others - {type(fault) for fault in FAULTS}}
    why_not = mixture.__doc__ or ""
    assert missing
    assert {name for name in missing if f"`{name}`" not in why_not} == set()
    assert states == {
        type(fault.state)
        for scenario in chaos.SCENARIOS.values()
        for fault in scenario.faults
        if isinstance(fault, HoldState)
    }


def test_its_order_is_mixed_and_always_the_same() -> None:
    names = [fault.name for fault in mixed(162, graceful=3.0)]
    assert names == [fault.name for fault in mixed(162, graceful=3.0)]
    assert len(set(pairwise(names))) > 100, "a kind has many others behind it"


def test_the_fewest_faults_hold_each_kind_and_the_poison_has_its_places_for_itself() -> None:
    few = mixed(number_of_kinds(), graceful=3.0)
    assert {fault.name for fault in few} == {fault.name for fault in FAULTS}
    times = sum(isinstance(fault, PoisonTask) for fault in few)
    assert all(isinstance(fault, PoisonTask) and fault.at == few[0].at for fault in few[:times])
    # More than twice as far as any other two are apart.
    assert few[times].at - few[0].at > 2 * (few[times + 1].at - few[times].at)


def test_what_fits_only_early_strikes_early_and_migrations_go_back_and_forth() -> None:
    assert all(
        fault.at < 0.06 for fault in FAULTS if isinstance(fault, FillDisk) and fault.service == "postgres"
    )
    back = [fault.previous for fault in FAULTS if isinstance(fault, MigrateSchema)]
    assert back == [number % 2 == 0 for number in range(len(back))]
