"""Plans that are about one thing, and what is asked of their runs besides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest

from harness.checkers.base import Verdict
from harness.history import History
from harness.simulation import Plan, plan_of, simulate
from harness.simulation.plan import MANY_CRASHES, FaultKind, PlannedTask, SimulatedFault, Theme
from harness.simulation.plan_generator import OF_FEATURES
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


def test_each_mixed_plan_has_a_subset_of_the_faults_and_of_the_features() -> None:
    plans = [plan for plan in map(plan_of, range(400)) if plan.theme is Theme.MIXED]
    kinds = Counter(kind for plan in plans for kind in {fault.kind for fault in plan.faults})
    features = Counter(name for plan in plans for name in _features(plan))
    assert set(kinds) == set(FaultKind) - {FaultKind.FREEZE_HOST}
    assert len(features) == 12
    for name, count in (kinds + features).items():  # all kinds in all plans would be more than half
        of_a_feature = name not in kinds or name in OF_FEATURES
        assert 0.1 * len(plans) < count < (0.8 if of_a_feature else 0.5) * len(plans), name


def test_a_host_freezes_after_the_last_fault_and_everything_ends_in_time() -> None:
    plans = [plan for plan in map(plan_of, range(200)) if plan.theme is Theme.FROZEN]
    assert {plan.faults[-1].kind for plan in plans} == {FaultKind.FREEZE_HOST}
    outcome = simulate(_outage(Theme.FROZEN))
    assert not outcome.findings
    assert [op.f for op in outcome.history if op.process == "nemesis"] == ["redis-away", "freeze-host"]
    frozen = {op.process for op in outcome.history if op.f == "run" and op.time > 9e9}
    assert len(frozen) <= 1, "only one host runs tasks after that"


def test_only_the_bound_of_a_frozen_run_finds_tasks_that_are_merely_late() -> None:
    with DEFECTS["outbox-waits"].planted():
        assert [finding.checker for finding in simulate(_outage(Theme.FROZEN)).findings] == ["liveness"]
        for theme in set(Theme) - {Theme.FROZEN}:
            assert not simulate(_outage(theme)).findings


def test_a_bound_on_recovery_lies_below_what_the_reconciler_would_excuse() -> None:
    assert settings_of(Theme.KILLS, 1).reconcile_seconds > 2 * RECOVERED_WITHIN


def test_kills_that_interrupt_nothing_are_no_finding() -> None:
    checker = more_checkers(Theme.KILLS)["recovery"]
    assert checker(History.of([])).verdict is Verdict.VALID


def _features(plan: Plan) -> set[str]:
    """The names of the fields with which a plan asks for more than plain tasks."""
    of_tasks = ("failures", "delay", "lock", "progress", "resend")
    found = {name for name in of_tasks if any(getattr(task, name) for task in plan.tasks)}
    found |= {call.kind.value for call in plan.calls}
    found |= {"max_depth"} if plan.max_depth else set()
    found |= {"max_crashes"} if plan.max_crashes < MANY_CRASHES else set()
    return found | ({"two_versions"} if plan.two_versions else set())


def _outage(theme: Theme) -> Plan:
    """Redis is away while tasks arrive, and a host freezes after that."""
    tasks = tuple(PlannedTask(number=number, at=6.0 + 0.1 * number, work=0.1) for number in range(8))
    away = SimulatedFault(kind=FaultKind.REDIS_AWAY, at=5.9, seconds=2.5)
    freeze = SimulatedFault(kind=FaultKind.FREEZE_HOST, at=8.5)
    return Plan(seed=1, pools=2, workers=1, hosts=2, tasks=tasks, faults=(away, freeze), theme=theme)


def _of(theme: Theme, seed: int) -> Sequence[SimulatedFault]:
    plan = plan_of(seed)
    return plan.faults if plan.theme is theme else ()


def _struck(faults: Sequence[SimulatedFault]) -> int:
    tasks = tuple(PlannedTask(number=number, at=0.2 * number, work=0.1) for number in range(30))
    return simulate(Plan(seed=1, pools=1, workers=1, tasks=tasks, faults=tuple(faults))).injected
