from __future__ import annotations

import pytest

from harness.checkers import fencing
from harness.checkers.base import CheckResult, Verdict
from tests.support.histories import INFO, INVOKE, OK, HistoryBuilder


def kinds(result: CheckResult) -> list[str]:
    return [one["kind"] for one in result.counterexamples]


def test_a_task_that_was_taken_over_under_a_higher_fence_is_valid() -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5).killed(12).ran(1, by=13, fence=9).recorded(1, fence=9)
    result = fencing()(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"runs": 2, "breaches": 0, "overtaken": 0}


def test_two_runs_under_one_fence_are_invalid() -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5).ran(1, by=13, fence=5).recorded(1, fence=5)
    result = fencing()(builder.history)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == ["shared"]


def test_the_same_fence_on_two_activities_is_none_of_anybodys_business() -> None:
    assert (
        fencing()(HistoryBuilder().ran(1, 2, by=12, fence=5).recorded(1, 2, fence=5).history).verdict
        is Verdict.VALID
    )


def test_a_zombie_that_finishes_late_is_legal() -> None:
    builder = (
        HistoryBuilder()
        .began(1, by=12, fence=5)
        .ran(1, by=13, fence=9)
        .ended(1, by=12, fence=5)
        .recorded(1, fence=9)
    )
    assert fencing()(builder.history).verdict is Verdict.VALID


def test_a_zombie_whose_completion_was_accepted_is_invalid() -> None:
    builder = (
        HistoryBuilder()
        .began(1, by=12, fence=5)
        .ran(1, by=13, fence=9)
        .ended(1, by=12, fence=5)
        .recorded(1, fence=5)
    )
    result = fencing()(builder.history)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == ["forgotten"]
    assert result.counterexamples[0]["why"] == "a run had fence 9, but the record has fence 5"


def test_a_completion_under_a_fence_whose_handler_never_finished_is_invalid() -> None:
    builder = HistoryBuilder().ran(1, by=12, fence=5).began(1, by=13, fence=9).recorded(1, fence=9)
    assert kinds(fencing()(builder.history)) == ["unearned"]
    stopped = builder.ended(1, by=13, fence=9, outcome=INFO)
    assert fencing()(stopped.history).verdict is Verdict.INVALID


def test_two_fences_that_both_completed_are_invalid() -> None:
    builder = HistoryBuilder().ran(1, by=12, fence=5).ran(1, by=13, fence=9).recorded(1, fence=9)
    builder.logged(1, ("queued", 0, 0), ("running", 5, 0), ("complete", 5, 1), ("complete", 9, 0))
    assert kinds(fencing()(builder.history)) == ["two winners"]


def test_a_fence_counter_that_started_again_is_invalid() -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5).killed(12).ran(1, by=13, fence=1).recorded(1, fence=1)
    result = fencing()(builder.history)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == ["forgotten", "overtaken"]


def test_a_worker_that_was_held_up_before_it_began_is_legal_and_counted() -> None:
    builder = (
        HistoryBuilder()
        .began(1, by=13, fence=9)
        .began(1, by=12, fence=5)
        .ended(1, by=13, fence=9)
        .recorded(1, fence=9)
    )
    result = fencing()(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.figures["overtaken"] == 1


def test_a_run_that_began_after_the_end_under_a_higher_fence_is_invalid() -> None:
    builder = HistoryBuilder().ran(1, by=12, fence=5).began(1, by=13, fence=9).recorded(1, fence=5)
    assert kinds(fencing()(builder.history)) == ["forgotten"]


def test_an_activity_that_ended_without_a_handler_needs_no_fence_of_a_run() -> None:
    builder = (
        HistoryBuilder()
        .began(1, by=12, fence=5)
        .recorded(1, status="error", fence=5)
        .recorded(2, status="canceled", fence=0)
    )
    assert fencing()(builder.history).verdict is Verdict.VALID


def test_without_fencing_tokens_the_verdict_is_unknown() -> None:
    assert (
        fencing()(HistoryBuilder().ran(1, by=12, fence=None).recorded(1).history).verdict is Verdict.UNKNOWN
    )
    result = fencing()(HistoryBuilder().ran(1, by=12).recorded(1, fence=None).history)
    assert result.verdict is Verdict.UNKNOWN
    assert result.summary == "the store shows no fences"


def test_an_end_belongs_to_the_run_with_its_fencing_token() -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5).began(1, by=12, fence=9).ended(1, by=12, fence=5)
    assert kinds(fencing()(builder.recorded(1, fence=9).history)) == ["unearned"]
    stray = HistoryBuilder().ended(1, by=12, fence=3).ran(1, by=12, fence=5).recorded(1, fence=5)
    assert fencing()(stray.history).verdict is Verdict.VALID


def test_where_no_activity_is_known_each_task_is_fenced_for_itself() -> None:
    builder = HistoryBuilder().recorded(9, status="canceled", fence=1)
    for task in (1, 2):
        for kind in (INVOKE, OK):
            builder.op("worker-12", kind, "run", task=task, fence=5)
    assert fencing()(builder.history).verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("finished", "completed", "recorded", "kind"),
    [(False, 5, 5, "unearned"), (True, 4, 5, "unearned"), (True, 5, 4, "forgotten")],
)
def test_an_activity_with_one_run_is_not_thought_well_of_at_a_glance(
    finished: bool, completed: int, recorded: int, kind: str
) -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5)
    if finished:
        builder.ended(1, by=12, fence=5)
    builder.logged(1, ("complete", completed, 1)).recorded(1, status="running", fence=recorded)
    assert kinds(fencing()(builder.history)) == [kind]


def test_a_completion_in_the_log_and_another_in_the_record_are_two_winners() -> None:
    builder = HistoryBuilder().ran(1, by=12, fence=5).ran(1, by=13, fence=9).logged(1, ("complete", 5, 1))
    assert kinds(fencing()(builder.recorded(1, fence=9).history)) == ["two winners"]


@pytest.mark.parametrize("fence", [0, 3])
def test_a_completion_without_a_run_is_unearned_and_keeps_the_highest_token(fence: int) -> None:
    result = fencing()(HistoryBuilder().ran(1, by=12).recorded(1).recorded(2, fence=fence).history)
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [("unearned", 2)]


def test_of_three_runs_only_the_two_that_share_a_token_are_reported() -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5).began(1, by=13, fence=5).ran(1, by=14, fence=9)
    assert kinds(fencing()(builder.recorded(1, fence=9).history)) == ["shared"]


def test_each_run_below_the_highest_fence_before_it_was_overtaken() -> None:
    builder = HistoryBuilder().ran(1, by=12, fence=9).began(1, by=13, fence=5).began(1, by=14, fence=7)
    result = fencing()(builder.recorded(1, fence=9).history)
    assert kinds(result) == ["overtaken", "overtaken"]
    assert result.figures["overtaken"] == 2
