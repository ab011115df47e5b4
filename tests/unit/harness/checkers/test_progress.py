from __future__ import annotations

import pytest

from harness.checkers import progress
from harness.checkers.base import Verdict
from tests.support.histories import FAIL, HistoryBuilder


def test_percentages_that_rise_to_the_end_are_valid() -> None:
    builder = HistoryBuilder().reported(1, 30, 60)
    builder.logged(1, ("queued", 0, 0), ("running", 1, 0, 0), ("running", 1, 1, 30), ("running", 1, 2, 60))
    result = progress()(builder.logged(1, ("complete", 1, 3, 100)).history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"percentages": 4, "reports": 2, "reports_lost": 0}


@pytest.mark.parametrize(
    ("rows", "kind"), [((60, 30), "falling"), ((50, 101), "outside"), ((-1, 3), "outside")]
)
def test_percentages_that_fall_or_leave_their_range_are_invalid_and_named(
    rows: tuple[int, int], kind: str
) -> None:
    builder = HistoryBuilder().logged(
        1, *(("running", 1, n, percentage) for n, percentage in enumerate(rows))
    )
    result = progress()(builder.history)
    assert result.verdict is Verdict.INVALID
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [(kind, 1)]


def test_a_new_attempt_may_begin_at_the_bottom_again() -> None:
    builder = HistoryBuilder().logged(
        1, ("running", 1, 0, 80), ("running", 2, 0, 10), ("complete", 2, 1, 100)
    )
    assert progress()(builder.history).verdict is Verdict.VALID


def test_a_killed_attempt_may_lose_its_last_reports_but_none_between() -> None:
    lost = HistoryBuilder().reported(1, 20, 40, 60).logged(1, ("running", 1, 1, 20), ("complete", 2, 0, 100))
    result = progress()(lost.history)
    assert (result.verdict, result.figures["reports_lost"]) == (Verdict.VALID, 2)
    torn = HistoryBuilder().reported(1, 20, 40, 60).logged(1, ("running", 1, 1, 20), ("running", 1, 2, 60))
    assert [one["kind"] for one in progress()(torn.history).counterexamples] == ["garbled"]


def test_what_was_never_reported_is_not_in_the_log() -> None:
    builder = HistoryBuilder().reported(1, 20).logged(1, ("running", 1, 1, 20), ("running", 1, 2, 30))
    assert [one["kind"] for one in progress()(builder.history).counterexamples] == ["garbled"]
    builder = (
        HistoryBuilder().reported(1, 20).logged(1, ("running", 1, 1, 20)).logged(2, ("running", 1, 1, 20))
    )
    assert [(one["kind"], one["task"]) for one in progress()(builder.history).counterexamples] == [
        ("garbled", 2)
    ]


def test_handlers_that_record_no_reports_are_judged_by_the_log_alone() -> None:
    assert progress()(HistoryBuilder().logged(1, ("running", 1, 1, 20)).history).verdict is Verdict.VALID


def test_a_completed_attempt_lost_no_report() -> None:
    builder = HistoryBuilder().reported(1, 20, 40).logged(1, ("running", 1, 1, 20), ("complete", 1, 2, 100))
    result = progress()(builder.history)
    assert [one["kind"] for one in result.counterexamples] == ["missing"]
    none = HistoryBuilder().reported(1, 20).logged(1, ("complete", 1, 0, 100)).recorded(1)
    assert [one["kind"] for one in progress()(none.history).counterexamples] == ["missing"]


def test_without_percentages_the_verdict_is_unknown_unless_they_are_optional() -> None:
    history = HistoryBuilder().logged(1, ("queued", 0, 0)).history
    assert progress()(history).verdict is Verdict.UNKNOWN
    assert progress(minimum=0)(history).verdict is Verdict.VALID


def test_a_killed_attempt_whose_every_report_is_lost_is_no_breach() -> None:
    builder = (
        HistoryBuilder()
        .reported(1, 20)
        .logged(1, ("running", 1, 0), ("running", 2, 0, 0), ("complete", 2, 1, 100))
    )
    result = progress()(builder.history)
    assert (result.verdict, result.figures["reports_lost"]) == (Verdict.VALID, 1)


def test_a_completed_attempt_without_any_percentage_shows_an_empty_log() -> None:
    builder = (
        HistoryBuilder()
        .reported(1, 20)
        .logged(1, ("complete", 1, 0))
        .logged(2, ("running", 1, 0, 0))
        .recorded(1)
    )
    (found,) = progress()(builder.history).counterexamples
    assert (found["kind"], found["task"], found["fence"], found["log"]) == ("missing", 1, 1, [])


def failed(status: str = "queued") -> HistoryBuilder:
    """An attempt that reported twice and failed, of which the log has one report and the end."""
    builder = HistoryBuilder().began(1, by=12).reported(1, 20, 40).ended(1, by=12, outcome=FAIL)
    return builder.logged(1, ("running", 1, 1, 20), (status, 1, 2))


@pytest.mark.parametrize("status", ["queued", "error"])
def test_a_failed_attempt_lost_no_report(status: str) -> None:
    (found,) = progress()(failed(status).history).counterexamples
    assert (found["kind"], found["why"]) == (
        "missing",
        "failed under fence 1 with [20] of the reports [20, 40]",
    )


def test_the_end_of_a_failed_attempt_may_be_recorded_by_others() -> None:
    """After the death of its worker, or the loss of its lease, the log has what the worker recorded before."""
    assert progress()(failed().killed(12).history).verdict is Verdict.VALID
    assert (
        progress()(failed().injected("pause-worker", pids=[12], seconds=8.0).history).verdict is Verdict.VALID
    )
    assert progress()(failed("canceled").history).verdict is Verdict.VALID
    assert progress()(failed("running").history).verdict is Verdict.VALID
