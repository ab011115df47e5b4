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


def faulty() -> HistoryBuilder:
    """Two submissions before a fault, four during it of which one is refused and one unknown, one after it."""
    builder = submitted(submitted(HistoryBuilder().at(1), 1, after=0.01), 2, after=0.02).at(2).killed(12)
    submitted(submitted(builder, 3, after=0.1), 4, after=0.3)
    submitted(submitted(builder, 5, after=0.1, outcome=FAIL), 6, after=0.1, outcome=INFO)
    builder.at(3).op("nemesis", INFO, "kill-worker", fault=1, phase="heal", pids=[12])
    return submitted(builder.at(4), 7, after=0.01).at(5).ran(7, by=13)


def test_figures_are_given_by_phase_and_without_a_bound_there_is_no_breach() -> None:
    result = availability()(faulty().history)
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
    assert availability(minimum_share=0.5)(faulty().history).verdict is Verdict.VALID
    result = availability(minimum_share=0.6)(faulty().history)
    assert result.verdict is Verdict.INVALID
    assert result.summary == "50.0% of submissions during faults were acknowledged, the bound is 60.0%"


def test_a_p99_above_the_bound_is_invalid() -> None:
    assert availability(enqueue_p99=0.31)(faulty().history).verdict is Verdict.VALID
    assert availability(enqueue_p99=0.29)(faulty().history).verdict is Verdict.INVALID


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
    assert availability(enqueue_p99=0.3)(faulty().history).verdict is Verdict.VALID


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


def due(
    builder: HistoryBuilder, task: int, *, at: float, sent: float, answered: float | None
) -> HistoryBuilder:
    """A submission with its intended time, its actual time, and that of its answer (None: there is none)."""
    builder.at(sent).op("client", INVOKE, "enqueue", task=task, intended=round(at * 1e9))
    return (
        builder
        if answered is None
        else builder.at(answered).op("client", OK, "enqueue", task=task, activity="a")
    )


def frozen(*, until: float = 10.0) -> HistoryBuilder:
    """A freeze from second 2 to 10, and the end of the run at `until`."""
    builder = HistoryBuilder().at(2).injected("stall-redis", seconds=8)
    builder.at(10).op("nemesis", INFO, "stall-redis", fault=1, phase="heal", kind="pause")
    return builder.at(until).op("pool-1", INFO, "exit", pid=1, code=0)


def test_every_task_that_was_due_during_a_freeze_counts_in_it_from_its_intended_time() -> None:
    builder = frozen(until=11)
    for task in range(80):
        at = 2 + task / 10
        due(builder, task, at=at, sent=at, answered=10.05)
    result = availability()(builder.history)
    figures = result.figures
    assert (figures["submitted_before"], figures["submitted_during"]) == (0, 80)
    assert figures["enqueue_during_p99"] == pytest.approx(8.05)
    assert figures["enqueue_during_p50"] == pytest.approx(4.05)
    assert figures["prompt_during"] == pytest.approx(9 / 80)
    assert figures["late_p99"] == 0
    assert result.summary == "during faults 100.0% available (11.2% within 1 s), p99 8050.0 ms"
    assert availability(enqueue_p99=8)(builder.history).verdict is Verdict.INVALID
    assert availability(enqueue_p99=8.1)(builder.history).verdict is Verdict.VALID


def test_a_task_counts_in_the_window_in_which_it_was_intended_and_not_in_that_of_its_request() -> None:
    builder = due(due(frozen(), 1, at=1.9, sent=2.5, answered=2.6), 2, at=9.9, sent=10.5, answered=10.6)
    figures = availability()(builder.history).figures
    assert [figures[f"submitted_{phase}"] for phase in ("before", "during", "after")] == [1, 1, 0]
    assert figures["enqueue_before_max"] == pytest.approx(0.7)
    assert figures["enqueue_during_max"] == pytest.approx(0.7)
    assert figures["late_p99"] == figures["late_max"] == pytest.approx(0.6)


def test_a_client_that_was_late_itself_makes_a_bound_unknown_and_is_reported() -> None:
    builder = due(frozen(), 1, at=3, sent=8, answered=8.2)
    assert availability(enqueue_p99=6)(builder.history).verdict is Verdict.VALID
    result = availability(enqueue_p99=1)(builder.history)
    assert (result.verdict, result.counterexamples) == (Verdict.UNKNOWN, ())
    assert result.summary == (
        "submissions during faults: p99 5.200 s, the bound is 1 s; the clients of the run were late themselves"
    )
    assert result.figures["late_p99"] == pytest.approx(5.0)
    assert availability()(builder.history).summary.endswith(
        "the clients of the run were late themselves, p99 5.000 s"
    )
    # Of the 5.2 s, the system caused 0.2 s for certain.
    assert availability(enqueue_p99=0.1)(builder.history).verdict is Verdict.INVALID


def test_a_submission_that_was_moved_out_of_the_fault_proves_nothing_about_a_share() -> None:
    builder = due(due(frozen(until=20), 1, at=3, sent=12, answered=12.1), 2, at=4, sent=4, answered=4.1)
    assert availability(minimum_share=0.5)(builder.history).verdict is Verdict.VALID
    result = availability(minimum_share=0.9)(builder.history)
    assert result.verdict is Verdict.UNKNOWN
    assert "the clients of the run were late themselves" in result.summary
    builder = due(builder, 3, at=5, sent=5, answered=None)
    assert availability(minimum_share=0.9)(builder.history).verdict is Verdict.INVALID


def test_an_answer_that_is_missing_at_the_end_counts_with_the_time_until_then() -> None:
    builder = due(due(frozen(until=9), 1, at=3, sent=3, answered=None), 2, at=4, sent=4, answered=4.1)
    builder.recorded(2)  # the evidence of the store is read later and does not extend the run
    result = availability()(builder.history)
    assert result.figures["unanswered_during"] == 1
    assert result.figures["available_during"] == 0.5
    assert result.figures["enqueue_during_max"] == pytest.approx(7.001, abs=0.01)
    assert result.summary == "during faults 50.0% available, p99 7000.0 ms, 1 without an answer"
    assert availability(enqueue_p99=5)(builder.history).verdict is Verdict.INVALID
    unsure = availability(enqueue_p99=30)(builder.history)
    assert (unsure.verdict, unsure.summary.rpartition("; ")[2]) == (Verdict.UNKNOWN, "1 have no answer yet")


def test_a_history_without_intended_times_does_not_know_how_late_its_client_was() -> None:
    figures = availability()(faulty().history).figures
    assert (figures["late_p99"], figures["late_max"]) == (None, None)
    wrong = HistoryBuilder().op("client", INVOKE, "enqueue", task=1, intended="noon")
    with pytest.raises(ValueError, match="intended"):
        availability()(wrong.history)


def test_a_share_of_exactly_the_bound_is_within_it_for_every_number() -> None:
    for accepted in range(1, 101):
        builder = frozen()
        for task in range(100):
            due(builder, task, at=3, sent=3, answered=3.1 if task < accepted else None)
        assert availability(minimum_share=accepted / 100)(builder.history).verdict is Verdict.VALID, accepted


def test_a_wait_in_which_the_machine_stood_still_is_not_judged_and_every_other_is() -> None:
    builder = due(frozen(until=12), 1, at=3, sent=3, answered=8)
    slow = {"load": 9.0, "spin": 20.0, "delay": 0.5}
    for second in range(2, 12):
        builder.at(second).op("machine", INFO, "machine", **slow)
    result = availability(enqueue_p99=1)(builder.history)
    assert (result.verdict, result.counterexamples) == (Verdict.UNKNOWN, ())
    assert "the bound is 1 s; this machine took away about" in result.summary
    idle = due(frozen(until=12), 1, at=3, sent=3, answered=8)
    for second in range(2, 12):
        idle.at(second).op("machine", INFO, "machine", load=0.1, spin=1.0, delay=0.0)
    assert availability(enqueue_p99=1)(idle.history).verdict is Verdict.INVALID
