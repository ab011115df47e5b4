"""The passing run that is nearest to a failing one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.history.figures import NANOSECONDS
from harness.simulation import SimulationResult, simulate
from harness.simulation.explain import Event, events
from harness.simulation.neighbor import Neighbor, nearest_passing
from harness.simulation.plan import Plan
from harness.simulation.simulation import Diversion
from tests.planted.edits import applied
from tests.simulation.undone import UNDONE

SCHEDULES = Path(__file__).parent / "schedules"


def failing(name: str) -> tuple[SimulationResult, Neighbor | None]:
    """A kept schedule against its undone repair, and the run that is nearest to it."""
    edit, _, _, also = UNDONE[name]
    with applied([edit, *also]):
        outcome = simulate(Plan.loads((SCHEDULES / f"{name}.json").read_text("utf-8")), trace=True)
        return outcome, nearest_passing(outcome)


def until(moment: int, run: SimulationResult) -> list[Event]:
    return [event for event in events(run) if event[0] < moment]


@pytest.mark.parametrize("seconds", [0, 1, 2])
def test_a_diversion_changes_nothing_before_its_moment_and_much_after_it(seconds: int) -> None:
    at, plain = seconds * NANOSECONDS, simulate(1, trace=True)
    other = simulate(1, trace=True, diversion=Diversion(at, 7))
    assert until(at, other) == until(at, plain)
    assert events(other) != events(plain)
    assert events(simulate(1, trace=True, diversion=Diversion(at, 7))) == events(other)


def test_the_decisive_fault_is_named_with_the_first_difference() -> None:
    outcome, found = failing("lock-given-twice")
    assert found is not None
    assert found.change == "without the redis-fails-over at 3.725 s"
    assert found.here is not None
    assert "FAULT redis-fails-over" in found.here[2]
    assert events(outcome)[found.same] == found.here
    assert found.there != found.here
    assert found.text.splitlines()[1].startswith("    here:  3.7250 s  harness  FAULT redis-fails-over")


def test_where_the_order_of_two_calls_decides_the_moment_is_named() -> None:
    outcome, found = failing("claims-of-a-late-reply")
    assert found is not None
    assert found.change.startswith("with other random numbers from ")
    assert found.same > len(events(outcome)) // 2


def test_a_run_that_fails_whatever_changes_has_no_neighbor(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _ = failing("lock-given-twice")
    monkeypatch.setattr("harness.simulation.neighbor.simulate", lambda *_, **__: outcome)
    assert nearest_passing(outcome) is None
