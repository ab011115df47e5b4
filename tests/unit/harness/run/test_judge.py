"""A history that is judged again has the verdict of its run, also without what only the run had."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.base import Verdict
from harness.run.judging import judge
from harness.scenario.bundled import SCENARIOS
from tests.support.histories import INFO, INVOKE, HistoryBuilder


@pytest.mark.parametrize(
    ("observed", "verdict", "said"),
    [
        ({"broken": [["a1", "it was booked twice"]]}, Verdict.INVALID, "task 1: it was booked twice"),
        ({"broken": []}, Verdict.VALID, "it holds for 1 completed tasks"),
        ({"found": {"mapping": [["a1", 2]]}}, Verdict.UNKNOWN, "--app"),
        ({"error": "the source failed: timeout. Correct it"}, Verdict.UNKNOWN, "the source failed"),
    ],
)
def test_an_invariant_in_the_history_is_not_forgotten_without_its_application(
    observed: dict[str, Any], verdict: Verdict, said: str
) -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1)
    builder.op("application", INFO, "invariant", name="each refund is booked once", **observed).drained()
    found = judge(SCENARIOS["kill-pool"], builder.history)["invariant: each refund is booked once"]
    assert found.verdict is verdict
    assert said in found.summary


@pytest.mark.parametrize(
    ("process", "f", "value"),
    [
        ("client", "enqueue", {"task": "one", "delay": 1.0}),
        ("postgres", "transition", {"task": 1, "activity": "a1", "fence": "one", "n": 0, "status": "queued"}),
    ],
)
def test_what_cannot_be_read_is_unknown_and_stops_no_judge(
    process: str, f: str, value: dict[str, Any]
) -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).op(process, INVOKE, f, **value)
    builder.op("postgres", INFO, "record", task=1, activity="a1", status="complete", fence=1, failures=0)
    verdicts = {one.verdict for one in judge(SCENARIOS["kill-pool"], builder.drained().history).values()}
    assert Verdict.UNKNOWN in verdicts
