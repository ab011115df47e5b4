from __future__ import annotations

import pytest

from harness.checkers import transitions
from harness.checkers.base import CheckResult, Verdict
from harness.history.statuses import LEGAL, TERMINAL
from tests.support.histories import HistoryBuilder

START = ("queued", 0, 0)


def check(*rows: tuple[str, int, int], allow_queued: bool = False) -> CheckResult:
    return transitions(allow_queued=allow_queued)(HistoryBuilder().logged(1, *rows).history)


def kinds(result: CheckResult) -> list[str]:
    return [one["kind"] for one in result.counterexamples]


@pytest.mark.parametrize(
    "rows",
    [
        [START, ("running", 5, 0), ("complete", 5, 1)],
        [START, ("running", 5, 0), ("running", 5, 1), ("running", 5, 2), ("complete", 5, 3)],
        [START, ("running", 5, 0), ("running", 9, 0), ("complete", 9, 1)],
        [START, ("running", 5, 0), ("queued", 5, 1), ("running", 9, 0), ("error", 9, 1)],
        [START, ("canceled", 0, 1)],
        [START, ("error", 0, 1)],
        [START, ("queued", 0, 1), ("running", 5, 0), ("canceled", 5, 1)],
    ],
)
def test_a_legal_way_to_an_end_is_valid(rows: list[tuple[str, int, int]]) -> None:
    assert check(*rows).verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([("running", 5, 0), ("complete", 5, 1)], ["first"]),
        ([START, ("complete", 5, 0)], ["illegal"]),
        ([START, ("running", 5, 0), ("complete", 5, 1), ("running", 9, 0), ("complete", 9, 1)], ["illegal"]),
        ([START, ("running", 5, 0), ("complete", 5, 1), ("complete", 5, 2)], ["illegal"]),
        ([START, ("running", 5, 0), ("complete", 5, 1), ("complete", 9, 0)], ["illegal"]),
        ([START, ("canceled", 0, 1), ("running", 5, 0), ("complete", 5, 1)], ["illegal"]),
        ([START, ("queued", 3, 0), ("running", 5, 0), ("complete", 5, 1)], ["illegal"]),
        ([START, ("running", 5, 0), ("queued", 5, 1), ("running", 5, 2), ("complete", 5, 3)], ["illegal"]),
        ([START, ("paused", 5, 0), ("complete", 5, 1)], ["illegal", "illegal"]),
        ([START, ("running", 5, 0), ("complete", 5, 2)], ["gap"]),
        ([START, ("running", 5, 1), ("complete", 5, 2)], ["gap"]),
        ([("queued", 0, 1), ("running", 5, 0), ("complete", 5, 1)], ["gap"]),
        ([START, ("running", 5, 0), ("running", 5, 0), ("complete", 5, 1)], ["repeated"]),
        ([START, ("running", 5, 0)], ["unfinished"]),
        ([START], ["unfinished"]),
    ],
)
def test_an_illegal_transition_is_invalid_and_named(
    rows: list[tuple[str, int, int]], kind: list[str]
) -> None:
    result = check(*rows)
    assert result.verdict is Verdict.INVALID
    assert kinds(result) == kind
    assert result.counterexamples[0]["task"] == 1
    assert result.counterexamples[0]["activity"] == "a1"


def test_the_order_is_that_of_the_fences_and_not_of_the_clock() -> None:
    assert check(("complete", 5, 1), ("running", 5, 0), START).verdict is Verdict.VALID


def test_a_log_that_ends_queued_is_legal_only_where_that_is_allowed() -> None:
    rows = [START, ("running", 5, 0), ("queued", 5, 1)]
    assert check(*rows).verdict is Verdict.INVALID
    assert check(*rows, allow_queued=True).verdict is Verdict.VALID
    assert check(START, ("running", 5, 0), allow_queued=True).verdict is Verdict.INVALID


def test_the_record_must_agree_with_the_end_of_its_log() -> None:
    builder = HistoryBuilder().logged(1, START, ("running", 5, 0), ("complete", 5, 1))
    assert transitions()(builder.recorded(1, status="complete", fence=5).history).verdict is Verdict.VALID
    result = transitions()(builder.recorded(1, status="running", fence=5).history)
    assert result.verdict is Verdict.INVALID
    assert "the record says running, its log ends with complete" in result.counterexamples[0]["why"]


def test_the_fence_of_the_record_must_not_fall_below_that_of_the_log() -> None:
    builder = HistoryBuilder().logged(1, START, ("running", 5, 0), ("complete", 5, 1)).recorded(1, fence=4)
    result = transitions()(builder.history)
    assert result.verdict is Verdict.INVALID
    assert "fence fell to 4" in result.counterexamples[0]["why"]


def test_a_record_without_a_log_and_a_log_without_a_record_are_invalid() -> None:
    legal = (START, ("running", 1, 0), ("complete", 1, 1))
    builder = HistoryBuilder().logged(1, *legal).logged(2, *legal).recorded(1, 3)
    result = transitions()(builder.history)
    assert [one["task"] for one in result.counterexamples] == [2, 3]
    assert result.figures["illegal"] == 2


def test_a_history_without_transitions_is_unknown() -> None:
    assert (
        transitions()(HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).history).verdict
        is Verdict.UNKNOWN
    )


def test_terminal_statuses_are_those_that_nothing_follows() -> None:
    assert {"complete", "error", "canceled"} == TERMINAL
    assert all(following <= LEGAL.keys() for following in LEGAL.values())


def test_a_repeated_row_is_reported_even_if_only_one_has_a_percentage() -> None:
    builder = HistoryBuilder().logged(1, START, ("running", 5, 0), ("running", 5, 0, 30), ("complete", 5, 1))
    assert kinds(transitions()(builder.history)) == ["repeated"]


def test_a_released_task_runs_again_only_under_a_higher_token() -> None:
    given_back = (START, ("running", 1, 0), ("queued", 1, 1), ("running", 1, 2), ("complete", 1, 3))
    assert kinds(check(*given_back)) == ["illegal"]
    assert check(START, ("running", 0, 1), ("complete", 0, 2)).verdict is Verdict.VALID, "without any fence"


def test_the_counterexample_shows_the_whole_log_and_is_called_after_what_is_wrong() -> None:
    builder = (
        HistoryBuilder()
        .logged(1, START, ("running", 5, 0), ("complete", 5, 1))
        .recorded(1, status="error", fence=5)
    )
    (found,) = transitions()(builder.history).counterexamples
    assert found["kind"] == "record"
    assert found["log"] == ["queued (0, 0)", "running (5, 0)", "complete (5, 1)"]


def test_the_figures_count_activities_and_rows() -> None:
    result = check(START, ("running", 5, 0), ("complete", 5, 1))
    assert result.figures == {"activities": 1, "transitions": 3, "illegal": 0}
