"""The same scenario with another number of faults."""

from __future__ import annotations

import dataclasses
from math import ceil
from typing import Any, cast

from harness.checkers.faults_injected import faults_injected
from harness.errors import UsageError
from harness.faults.base import Fault
from harness.history import History
from harness.history.figures import counted
from harness.scenario.scenario import Scenario


def with_faults(scenario: Scenario, number: int) -> Scenario:
    """The scenario with `number` faults: its own in their order, repeated or left out evenly, over the same time.

    The checker `faults` asks for as many as there are, and the time-out grows with them. Raises `UsageError` for a
    number below 1 and for a scenario whose pools change their version with each fault.
    """
    own = len(scenario.faults)
    if number == own:
        return scenario
    if not own:
        raise UsageError(f"{scenario.name} injects nothing. Choose another scenario for faults.")
    if number < 1:
        raise UsageError(f"{scenario.name} cannot have {number} faults. Give a number of 1 or more.")
    if len(set(scenario.pool.versions)) > 1:
        raise UsageError(
            f"{scenario.name} deploys another version with each of its {counted(own, 'fault')}. "
            "Leave their number as it is."
        )
    if len({fault.at for fault in scenario.faults}) < own:
        raise UsageError(
            f"{scenario.name} strikes one task several times. Leave the number of its faults as it is."
        )
    first, last = scenario.faults[0].at, scenario.faults[-1].at
    step = (last - first) / max(1, number - 1)
    faults = [
        _moved(scenario.faults[i * own // number], at=min(last, first + i * step)) for i in range(number)
    ]
    return dataclasses.replace(
        scenario,
        faults=tuple(faults),
        checkers={**scenario.checkers, **_required(scenario, number)},
        timeout=scenario.timeout * max(1.0, number / own),
    )


def _moved(fault: Fault, *, at: float) -> Fault:
    try:
        return cast("Fault", dataclasses.replace(cast("Any", fault), at=at))
    except TypeError:
        raise UsageError(
            f"The fault {fault.name} is no dataclass with a field `at`, so it cannot be repeated. Make it one."
        ) from None


def _required(scenario: Scenario, number: int) -> dict[str, Any]:
    """The checker `faults`, if the scenario has it, with its minima in proportion."""
    own = scenario.checkers.get("faults")
    if own is None:
        return {}
    minima = own(History(())).figures
    faults, kills = (
        ceil((minima.get(name) or 0) * number / len(scenario.faults))
        for name in ("minimum_faults", "minimum_kills")
    )
    return {"faults": faults_injected(faults, minimum_kills=kills)}
