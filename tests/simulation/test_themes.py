"""Plans that are about one thing, and what is asked of their runs besides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest

from harness.checkers.base import Verdict
from harness.history import History
from harness.simulation import Plan, plan_of, simulate
from harness.simulation.plan import FaultKind, PlannedTask, SimulatedFault, Theme
from harness.simulation.themes import RECOVERED_WITHIN, more_checkers, settings_of
from tests.planted.defect import Defect
from tests.planted.defects import DEFECTS

ALLOWED = {
    Theme.SHUTDOWNS: {FaultKind.TERMINATE_POOL},
    Theme.KILLS: {FaultKind.KILL_WORKER, FaultKind.KILL_PARENT, FaultKind.KILL_POOL},
}
ENOUGH = 30  # seeds within which a defect shows


def test_half_of_the_plans_are_mixed_and_each_theme_has_its_share() -> None:
    drawn = Counter(plan_of(seed).theme for seed in range(600))
    assert set(drawn) == set(Theme)
    assert 240 < drawn[Theme.MIXED] < 360
    assert min(drawn.values()) > 60


@pytest.mark.parametrize("theme", ALLOWED)
def test_a_theme_has_no_other_faults(theme: Theme) -> None:
    kinds = {fault.kind for seed in range(100) for fault in _of(theme, seed)}
    assert kinds == ALLOWED[theme]


def test_every_plan_has_at_least_twenty_tasks_and_ten_faults() -> None:
    plans = [plan_of(seed) for seed in range(300)]
    assert min(len(plan.tasks) for plan in plans) == 20
    assert min(len(plan.faults) for plan in plans) == 10


def test_a_plan_from_before_there_were_themes_is_a_mixed_one() -> None:
    kept = plan_of(0).to_json()
    del kept["theme"]
    assert Plan.loads(json.dumps(kept)).theme is Theme.MIXED


@pytest.mark.parametrize(
    ("name", "checker", "first"),
    [
        ("ack-before-run", "recovery", 0),
        ("late-completions-dropped", "duplicates", 0),
        ("release-burns-a-retry", "outcomes", 0),
        ("lock-freed-by-non-owner", "invariants", 20),
    ],
)
def test_a_theme_finds_what_mixed_plans_allow(name: str, checker: str, first: int) -> None:
    """Where the simulation draws differently, another seed may have to be the first."""
    defect: Defect = DEFECTS[name]
    with defect.planted():
        outcomes = (
            simulate(seed) for seed in range(first, first + ENOUGH) if plan_of(seed).theme is not Theme.MIXED
        )
        assert any(checker in {finding.checker for finding in outcome.findings} for outcome in outcomes)


def test_a_pending_fault_whose_victim_dies_first_strikes_another() -> None:
    kill = SimulatedFault(kind=FaultKind.KILL_POOL, at=1.0)
    again = SimulatedFault(kind=FaultKind.KILL_WORKER, at=0.9, skip=30)
    assert _struck([kill]) == 1
    # Its first victim makes some calls and dies with its pool; only the next one can come to thirty.
    assert _struck([again, kill]) == 2


def test_a_bound_on_recovery_lies_below_what_the_reconciler_would_excuse() -> None:
    assert settings_of(Theme.KILLS, 1).reconcile_seconds > 2 * RECOVERED_WITHIN


def test_kills_that_interrupt_nothing_are_no_finding() -> None:
    checker = more_checkers(Theme.KILLS)["recovery"]
    assert checker(History.of([])).verdict is Verdict.VALID


def _of(theme: Theme, seed: int) -> Sequence[SimulatedFault]:
    plan = plan_of(seed)
    return plan.faults if plan.theme is theme else ()


def _struck(faults: Sequence[SimulatedFault]) -> int:
    tasks = tuple(PlannedTask(number=number, at=0.2 * number, work=0.1) for number in range(30))
    return simulate(Plan(seed=1, pools=1, workers=1, tasks=tasks, faults=tuple(faults))).injected
