from __future__ import annotations

from harness.checker import CheckResult, Verdict
from harness.checkers import fencing
from tests.unit.histories import INFO, Tell


def kinds(result: CheckResult) -> list[str]:
    return [one["kind"] for one in result.counterexamples]


def test_a_task_that_was_taken_over_under_a_higher_fence_is_valid() -> None:
    tell = Tell().began(1, by=12, fence=5).killed(12).ran(1, by=13, fence=9).recorded(1, fence=9)
    result = fencing()(tell.history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"runs": 2, "breaches": 0, "overtaken": 0}


def test_two_runs_under_one_fence_are_invalid() -> None:
    tell = Tell().began(1, by=12, fence=5).ran(1, by=13, fence=5).recorded(1, fence=5)
    result = fencing()(tell.history)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == ["shared"]


def test_the_same_fence_on_two_activities_is_none_of_anybodys_business() -> None:
    assert (
        fencing()(Tell().ran(1, 2, by=12, fence=5).recorded(1, 2, fence=5).history).verdict is Verdict.VALID
    )


def test_a_zombie_that_finishes_late_is_legal() -> None:
    tell = (
        Tell().began(1, by=12, fence=5).ran(1, by=13, fence=9).ended(1, by=12, fence=5).recorded(1, fence=9)
    )
    assert fencing()(tell.history).verdict is Verdict.VALID


def test_a_zombie_whose_completion_was_accepted_is_invalid() -> None:
    tell = (
        Tell().began(1, by=12, fence=5).ran(1, by=13, fence=9).ended(1, by=12, fence=5).recorded(1, fence=5)
    )
    result = fencing()(tell.history)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == ["forgotten"]
    assert result.counterexamples[0]["why"] == "a run had fence 9, but the record has fence 5"


def test_a_completion_under_a_fence_whose_handler_never_finished_is_invalid() -> None:
    tell = Tell().ran(1, by=12, fence=5).began(1, by=13, fence=9).recorded(1, fence=9)
    assert kinds(fencing()(tell.history)) == ["unearned"]
    stopped = tell.ended(1, by=13, fence=9, outcome=INFO)
    assert fencing()(stopped.history).verdict is Verdict.INVALID


def test_two_fences_that_both_completed_are_invalid() -> None:
    tell = Tell().ran(1, by=12, fence=5).ran(1, by=13, fence=9).recorded(1, fence=9)
    tell.logged(1, ("queued", 0, 0), ("running", 5, 0), ("complete", 5, 1), ("complete", 9, 0))
    assert kinds(fencing()(tell.history)) == ["two winners"]


def test_a_fence_counter_that_started_again_is_invalid() -> None:
    tell = Tell().began(1, by=12, fence=5).killed(12).ran(1, by=13, fence=1).recorded(1, fence=1)
    result = fencing()(tell.history)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == ["forgotten", "overtaken"]


def test_a_worker_that_was_held_up_before_it_began_is_legal_and_counted() -> None:
    tell = (
        Tell().began(1, by=13, fence=9).began(1, by=12, fence=5).ended(1, by=13, fence=9).recorded(1, fence=9)
    )
    result = fencing()(tell.history)
    assert result.verdict is Verdict.VALID
    assert result.figures["overtaken"] == 1


def test_a_run_that_began_after_the_end_under_a_higher_fence_is_invalid() -> None:
    tell = Tell().ran(1, by=12, fence=5).began(1, by=13, fence=9).recorded(1, fence=5)
    assert kinds(fencing()(tell.history)) == ["forgotten"]


def test_an_activity_that_ended_without_a_handler_needs_no_fence_of_a_run() -> None:
    tell = (
        Tell()
        .began(1, by=12, fence=5)
        .recorded(1, status="error", fence=5)
        .recorded(2, status="canceled", fence=0)
    )
    assert fencing()(tell.history).verdict is Verdict.VALID


def test_without_fences_in_the_runs_or_in_the_store_nothing_can_be_said() -> None:
    assert fencing()(Tell().ran(1, by=12, fence=None).recorded(1).history).verdict is Verdict.UNKNOWN
    result = fencing()(Tell().ran(1, by=12).recorded(1, fence=None).history)
    assert result.verdict is Verdict.UNKNOWN
    assert result.summary == "the store shows no fences"
