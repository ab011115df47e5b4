"""A database that ended statements because of deadlocks is a breach, if the system promises to have none."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.asked import as_promised
from harness.checkers.base import Verdict, check_safe
from harness.checkers.deadlocks import deadlocks, recorded_deadlocks
from harness.history import DEADLOCKS, RUNNER
from harness.history.promises import Promises
from tests.support.histories import INFO, HistoryBuilder

NONE: dict[str, Any] = {"count": 0, "source": "log", "details": [], "why": ""}
TWO: dict[str, Any] = {"count": 2, "source": "log", "details": ["Process 1: UPDATE a", ""], "why": ""}
UNREAD: dict[str, Any] = {"count": None, "source": "statistics", "details": [], "why": "it was reset"}


@pytest.mark.parametrize(
    ("reports", "verdict", "said"),
    [
        ([NONE], Verdict.VALID, "no deadlocks in the database, by its log"),
        ([TWO], Verdict.INVALID, "2 deadlocks in the database, by its log"),
        ([UNREAD], Verdict.UNKNOWN, "deadlocks are not known: it was reset"),
        ([UNREAD, TWO], Verdict.INVALID, "2 deadlocks in the database, by its log and statistics"),
        ([NONE, UNREAD], Verdict.UNKNOWN, "deadlocks are not known: it was reset"),
        ([], Verdict.UNKNOWN, "the history does not say how many deadlocks the database had"),
        ([{"count": "two", "source": "log"}], Verdict.UNKNOWN, "the checker itself failed"),
    ],
)
def test_the_recorded_number_decides(reports: list[dict[str, Any]], verdict: Verdict, said: str) -> None:
    builder = HistoryBuilder()
    for report in reports:
        builder.op(RUNNER, INFO, DEADLOCKS, **report)
    result = check_safe(deadlocks(), builder.history)
    assert result.verdict is verdict
    assert said in result.summary
    if verdict is Verdict.INVALID:
        assert result.figures == {"deadlocks": 2}
        assert [one["why"] for one in result.counterexamples] == TWO["details"]


@pytest.mark.parametrize("promised", [True, False])
def test_it_is_reported_and_not_judged_of_a_system_that_does_not_promise_it(promised: bool) -> None:
    history = (
        HistoryBuilder().op(RUNNER, INFO, DEADLOCKS, **TWO).promised(Promises(deadlock_free=promised)).history
    )
    results = {name: checker(history) for name, checker in recorded_deadlocks(history).items()}
    found = as_promised(results, history)["deadlocks"]
    assert found.verdict is (Verdict.INVALID if promised else Verdict.NOT_ASKED)
    assert "2 deadlocks" in found.summary


def test_a_history_from_before_is_not_asked() -> None:
    assert recorded_deadlocks(HistoryBuilder().enqueued(1).history) == {}
