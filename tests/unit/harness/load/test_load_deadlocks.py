"""Deadlocks of the database breach a load, and a number that is not known is said."""

from __future__ import annotations

import pytest

from harness.environments.deadlocks import Deadlocks
from harness.load.figures import Figures
from harness.load.locust_test import LoadPlan
from harness.load.locust_verdict import EndedLoad, evidence_of
from harness.load.series import LoadSeries
from harness.load.thresholds import parse_all
from harness.load.verdict import judge
from tests.unit.harness.load.test_verdict import evidence


def judged(
    deadlocks: Deadlocks | None, thresholds: str = "lost = 0"
) -> tuple[int, list[str], dict[str, str]]:
    figures = Figures()
    figures.accounting = evidence().accounting
    ended = EndedLoad(
        run="load-1",
        figures=[figures],
        seconds=10.0,
        plan=LoadPlan(schedule=None, seconds=None),
        workers_lost=[],
        gaps=[],
        lateness=1.0,
        processes=1,
        gauges=LoadSeries(),
        deadlocks=deadlocks,
    )
    found = judge(evidence_of(ended), parse_all({"ALL": thresholds}))
    texts = [result.text for result in found.results if "deadlocks" in result.text]
    return found.exit_code, texts, dict(found.evidence.facts)


def test_a_deadlock_is_a_breach_with_the_count() -> None:
    code, texts, _ = judged(Deadlocks(count=2, source="statistics"))
    assert (code, texts) == (1, ["ALL: deadlocks = 0 is breached: it was 2."])


def test_a_load_may_allow_some() -> None:
    code, texts, _ = judged(Deadlocks(count=2, source="statistics"), "deadlocks < 3")
    assert code == 0
    assert len(texts) == 1


@pytest.mark.parametrize("known", [None, Deadlocks(count=0, source="statistics")])
def test_a_load_without_deadlocks_is_met(known: Deadlocks | None) -> None:
    assert judged(known)[0] == 0


def test_an_unknown_number_is_a_fact_and_no_breach() -> None:
    code, texts, facts = judged(Deadlocks(count=None, source="statistics", why="it was reset"))
    assert (code, texts, facts["deadlocks"]) == (0, [], "not known: it was reset")
