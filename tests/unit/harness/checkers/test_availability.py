from __future__ import annotations

import pytest

from harness.checkers import availability
from harness.checkers.base import Verdict
from harness.history.faults import fault_spans
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder


def submitted(builder: HistoryBuilder, task: int, *, after: float, outcome: object = OK) -> HistoryBuilder:
    """A submission that is answered after so many seconds."""
    builder.op("client", INVOKE, "enqueue", task=task)
    builder.now += round(after * 1e9) - 1_000_000
    assert outcome in (OK, FAIL, INFO)
    return builder.op("client", outcome, "enqueue", task=task, activity=f"a{task}")  # type: ignore[arg-type]


def hurt() -> HistoryBuilder:
    """Two submissions before a fault, four during it of which one is refused and one unknown, one after it."""
    builder = submitted(submitted(HistoryBuilder().at(1), 1, after=0.01), 2, after=0.02).at(2).killed(12)
    submitted(submitted(builder, 3, after=0.1), 4, after=0.3)
    submitted(submitted(builder, 5, after=0.1, outcome=FAIL), 6, after=0.1, outcome=INFO)
    builder.at(3).op("nemesis", INFO, "kill-worker", fault=1, phase="heal", pids=[12])
    return submitted(builder.at(4), 7, after=0.01).at(5).ran(7, by=13)


def test_figures_are_given_by_phase_and_without_a_bound_there_is_no_breach() -> None:
    result = availability()(hurt().history)
    assert result.verdict is Verdict.VALID
    figures = result.figures
    assert [figures[f"submitted_{phase}"] for phase in ("before", "during", "after")] == [2, 4, 1]
    assert [figures[f"available_{phase}"] for phase in ("before", "during", "after")] == [1.0, 0.5, 1.0]
    assert figures["enqueue_before_max"] == pytest.approx(0.02)
    assert figures["enqueue_during_p50"] == pytest.approx(0.1)
    assert figures["enqueue_during_p99"] == pytest.approx(0.3)
    assert figures["start_after_p99"] == pytest.approx(0.99)
    assert figures["start_during_p99"] is None


def test_a_submission_at_the_very_moment_of_a_fault_or_its_repair_is_during_it() -> None:
    builder = submitted(submitted(HistoryBuilder().at(1), 1, after=0.01).at(2), 2, after=0.01)
    builder.at(1).injected("pause-redis", seconds=1)
    figures = availability()(builder.history).figures
    assert (figures["submitted_during"], figures["submitted_before"], figures["submitted_after"]) == (2, 0, 0)


def test_a_share_below_the_bound_is_invalid() -> None:
    assert availability(minimum_share=0.5)(hurt().history).verdict is Verdict.VALID
    result = availability(minimum_share=0.6)(hurt().history)
    assert result.verdict is Verdict.INVALID
    assert result.summary == "50.0% of submissions during faults were acknowledged, the bound is 60.0%"


def test_a_p99_above_the_bound_is_invalid() -> None:
    assert availability(enqueue_p99=0.31)(hurt().history).verdict is Verdict.VALID
    assert availability(enqueue_p99=0.29)(hurt().history).verdict is Verdict.INVALID


def test_an_outage_in_which_nothing_is_acknowledged_breaks_a_bound_of_time() -> None:
    builder = submitted(HistoryBuilder().killed(12), 1, after=0.1)
    assert availability(enqueue_p99=9.0)(builder.history).verdict is Verdict.UNKNOWN
    builder = HistoryBuilder().injected("pause-redis", seconds=5)
    assert (
        availability(enqueue_p99=9.0)(submitted(builder, 1, after=1, outcome=INFO).history).verdict
        is Verdict.INVALID
    )


def test_a_bound_that_nothing_was_measured_for_is_unknown() -> None:
    history = submitted(HistoryBuilder(), 1, after=0.01).history
    assert availability()(history).verdict is Verdict.VALID
    assert availability(minimum_share=0.1)(history).verdict is Verdict.UNKNOWN
    assert availability()(HistoryBuilder().history).verdict is Verdict.UNKNOWN


def test_faults_that_touch_are_one_window() -> None:
    builder = HistoryBuilder().at(1).injected("a", seconds=2).at(2).injected("b", seconds=0.5)
    builder = submitted(submitted(builder.at(2.8), 1, after=0.01).at(3.2), 2, after=0.01)
    figures = availability()(builder.history).figures
    assert (figures["submitted_during"], figures["submitted_after"]) == (1, 1)


def test_a_p99_of_exactly_the_bound_is_within_it() -> None:
    assert availability(enqueue_p99=0.3)(hurt().history).verdict is Verdict.VALID


def test_an_answer_to_nobodys_question_is_not_counted() -> None:
    builder = submitted(HistoryBuilder(), 1, after=0.01).op("client", OK, "enqueue", task=9)
    figures = availability()(builder.history).figures
    assert (figures["submitted_before"], figures["available_before"]) == (1, 1.0)


def test_a_bound_that_nothing_was_measured_for_shows_what_was_measured() -> None:
    result = availability(minimum_share=0.1)(submitted(HistoryBuilder(), 1, after=0.01).history)
    assert (result.figures["submitted_before"], result.figures["submitted_during"]) == (1, 0)


def test_faults_that_follow_at_one_moment_are_one_window() -> None:
    builder = (
        HistoryBuilder().at(1).injected("a", seconds=1).at(2).injected("b", seconds=1).at(4).injected("c")
    )
    second = 1_000_000_000
    assert fault_spans(builder.history) == [(second, 3 * second), (4 * second, 4 * second)]
