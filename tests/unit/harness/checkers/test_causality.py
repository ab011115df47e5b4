"""A run has a cause: its submission, which began earlier on the one clock of the host."""

from __future__ import annotations

from harness.checkers import causality, standard
from harness.checkers.base import Verdict, check_all
from tests.support.histories import FAIL, INFO, HistoryBuilder, completed


def test_a_run_that_begins_before_its_submission_is_invalid_and_named() -> None:
    builder = HistoryBuilder().at(1).ran(7, by=12).at(2).enqueued(7).at(3).enqueued(8).ran(8, by=12)
    result = causality()(builder.history)
    assert result.verdict is Verdict.INVALID
    [found] = result.counterexamples
    assert (found["kind"], found["task"], found["seconds"]) == ("before its submission", 7, 1.0)
    why = "task 7 has a run in worker-12 1.000000 s before its first submission began"
    assert (found["why"], result.summary) == (
        why,
        f"1 task began before submission; the first: {why}",
    )
    assert result.figures == {"tasks": 2, "before_submission": 1}


def test_a_single_nanosecond_is_enough_and_the_same_moment_is_not() -> None:
    builder = HistoryBuilder().at(1).began(1, by=12)
    builder.now = 1_000_000_001
    assert causality()(builder.enqueued(1).history).verdict is Verdict.INVALID
    assert (
        causality()(HistoryBuilder().at(1).began(1, by=12).at(1).enqueued(1).history).verdict is Verdict.VALID
    )


def test_a_run_between_the_request_and_its_answer_is_valid() -> None:
    builder = HistoryBuilder().at(1).enqueued(1, outcome=INFO).at(2).enqueued(1).at(1.5).ran(1, by=12)
    assert causality()(builder.history).verdict is Verdict.VALID


def test_an_effect_or_a_report_or_an_outcome_before_the_submission_counts_too() -> None:
    for early in (
        HistoryBuilder().effect(1, by=12),
        HistoryBuilder().reported(1, 50),
        HistoryBuilder().ended(1, by=12, outcome=FAIL),
    ):
        assert causality()(early.at(1).enqueued(1).ran(1, by=12).history).verdict is Verdict.INVALID


def test_a_task_without_a_submission_is_left_to_delivery_and_no_run_is_unknown() -> None:
    assert causality()(HistoryBuilder().enqueued(1).ran(1, 2, by=12).history).verdict is Verdict.VALID
    for builder in (HistoryBuilder(), HistoryBuilder().enqueued(1), HistoryBuilder().ran(1, by=12)):
        result = causality()(builder.history)
        assert (result.verdict, result.summary) == (Verdict.UNKNOWN, "no submitted task began")


def test_a_history_in_which_all_else_is_good_is_invalid_by_causality_alone() -> None:
    builder = completed(HistoryBuilder().killed(11), 1).enqueued(1).queue().exited()
    results = check_all(standard(recovery_p99=None), builder.history)
    assert results.pop("steady").verdict is Verdict.NOT_ASKED, "it has too few tasks"
    assert [name for name, result in results.items() if result.verdict is not Verdict.VALID] == ["causality"]
