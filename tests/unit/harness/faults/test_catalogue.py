"""Each fault of the package is in a scenario, and the runner is killed in the middle of each."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from itertools import product

import chaos
from harness import faults
from harness.faults.held_state import HoldState
from harness.faults.kill_command import KillByCommand
from harness.faults.links import DisturbLink, LinkCut
from harness.faults.mixture import PROXIED
from tests.runner_killed import kinds


def classes_with(*methods: str) -> set[type]:
    """The classes of `harness.faults` that have these methods."""
    modules = [
        import_module(f"{faults.__name__}.{module.name}") for module in pkgutil.iter_modules(faults.__path__)
    ]
    return {
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type)
        and one.__module__ == module.__name__
        and all(hasattr(one, method) for method in methods)
        and not getattr(one, "_is_protocol", False)
    }


def test_each_fault_is_in_a_scenario() -> None:
    # The workers of a user are outside of the run: its end changes nothing there.
    found = {type(kind.fault) for kind in kinds().values()}
    assert classes_with("aim", "inject", "heal") - found == {KillByCommand}


def test_each_state_of_a_server_and_each_cut_of_a_link_is_in_a_scenario() -> None:
    found = [kind.fault for kind in kinds().values()]
    states = {type(fault.state) for fault in found if isinstance(fault, HoldState)}
    assert classes_with("held") == states
    cuts = {(fault.service, fault.cut) for fault in found if isinstance(fault, DisturbLink) and fault.cut}
    assert cuts == set(product(PROXIED, LinkCut))


def test_the_runner_is_killed_in_each_fault_of_the_scenarios() -> None:
    names = {fault.name for scenario in chaos.SCENARIOS.values() for fault in scenario.faults}
    assert names == kinds().keys()
