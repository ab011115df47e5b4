"""Each fault of the package is in a scenario, and the runner is killed in the middle of each."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import chaos
from harness import faults
from harness.faults.kill_command import KillByCommand
from tests.runner_killed import kinds


def fault_classes() -> set[type]:
    """The faults of `harness.faults`."""
    modules = [
        import_module(f"{faults.__name__}.{module.name}") for module in pkgutil.iter_modules(faults.__path__)
    ]
    return {
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type)
        and one.__module__ == module.__name__
        and all(hasattr(one, method) for method in ("aim", "inject", "heal"))
        and not getattr(one, "_is_protocol", False)
    }


def test_each_fault_is_in_a_scenario() -> None:
    # The workers of a user are outside of the run: its end changes nothing there.
    assert fault_classes() - {type(kind.fault) for kind in kinds().values()} == {KillByCommand}


def test_the_runner_is_killed_in_each_fault_of_the_scenarios() -> None:
    names = {fault.name for scenario in chaos.SCENARIOS.values() for fault in scenario.faults}
    assert names == kinds().keys()
