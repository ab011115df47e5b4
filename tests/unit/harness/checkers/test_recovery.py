from __future__ import annotations

import pytest

from harness.checkers import recovery
from harness.checkers.base import Verdict
from harness.history import InjectionKind
from harness.history.figures import nearest_rank
from harness.history.interruptions import interruptions
from tests.support.histories import FAIL, INFO, HistoryBuilder


def interrupted(*, resumed_after: float) -> HistoryBuilder:
    return (
        HistoryBuilder()
        .at(1)
        .began(1, by=12)
        .at(2)
        .killed(12)
        .at(2 + resumed_after)
        .ran(1, by=13, fence=2)
        .recorded(1, fence=2)
    )


def test_a_task_that_is_taken_up_in_time_is_valid() -> None:
    result = recovery(2.0)(interrupted(resumed_after=0.5).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["interrupted"] == 1
    assert result.figures["p99"] == result.figures["max"] == pytest.approx(0.5)


def test_a_task_that_is_taken_up_too_late_is_invalid_and_named() -> None:
    result = recovery(2.0)(interrupted(resumed_after=2.5).history)
    assert result.verdict is Verdict.INVALID
    (slow,) = result.counterexamples
    assert (slow["kind"], slow["task"], slow["seconds"]) == ("slow", 1, pytest.approx(2.5))


def test_a_task_that_is_never_taken_up_is_invalid_and_named() -> None:
    builder = HistoryBuilder().began(7, by=12).killed(12).ran(8, by=13).recorded(7, status="running")
    result = recovery(2.0)(builder.history)
    assert result.verdict is Verdict.INVALID
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [("stuck", 7)]
    assert result.figures["p99"] is None


def test_a_task_that_is_never_taken_up_but_ended_otherwise_is_no_breach() -> None:
    dead_letter = HistoryBuilder().began(7, by=12).killed(12).recorded(7, status="error")
    finished_before = HistoryBuilder().ran(8, by=13).began(8, by=12, fence=2).killed(12).recorded(8)
    for builder in (dead_letter, finished_before):
        result = recovery(2.0)(builder.history)
        assert result.verdict is Verdict.VALID
        assert (result.figures["interrupted"], result.figures["stuck"]) == (1, 0)


def test_each_of_two_tasks_may_have_ended_otherwise_in_its_own_way() -> None:
    builder = (
        HistoryBuilder()
        .began(7, by=12)
        .ran(8, by=13)
        .began(8, by=12, fence=2)
        .killed(12)
        .recorded(7, status="error")
    )
    assert recovery(2.0)(builder.recorded(8).history).figures["stuck"] == 0


def test_the_clock_starts_with_the_fault_that_killed_the_worker() -> None:
    builder = HistoryBuilder().at(1).began(1, by=12).at(2).killed(12).at(3).killed(12).ran(1, by=13, fence=2)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(1.001)]


def test_a_record_of_completion_without_a_handler_settles_nothing() -> None:
    assert (
        recovery(2.0)(HistoryBuilder().began(7, by=12).killed(12).recorded(7).history).verdict
        is Verdict.INVALID
    )


def test_a_handler_that_had_finished_was_not_interrupted() -> None:
    builder = HistoryBuilder().ran(1, by=12).killed(12).at(9).ran(1, by=13, fence=2)
    result = recovery(2.0)(builder.history)
    assert result.verdict is Verdict.UNKNOWN
    assert result.summary == "the faults interrupted nothing"


def test_fewer_interruptions_than_asked_for_are_unknown() -> None:
    builder = interrupted(resumed_after=0.5)
    assert recovery(2.0, minimum=2)(builder.history).verdict is Verdict.UNKNOWN
    assert recovery(0.1, minimum=2)(builder.history).verdict is Verdict.INVALID


def test_no_fault_and_no_operation_are_unknown() -> None:
    assert recovery(2.0)(HistoryBuilder().history).verdict is Verdict.UNKNOWN
    assert recovery(2.0)(HistoryBuilder().began(1, by=12).history).verdict is Verdict.UNKNOWN


def test_an_ordered_stop_and_a_failed_kill_interrupt_nothing() -> None:
    stopped = HistoryBuilder().began(1, by=12).sigterm(12).ran(1, by=13, fence=2)
    failed = (
        HistoryBuilder().began(1, by=12).injected("kill-worker", InjectionKind.KILL, type=FAIL, pids=[12])
    )
    healed = (
        HistoryBuilder().began(1, by=12).injected("kill-worker", InjectionKind.KILL, phase="heal", pids=[12])
    )
    assert [list(interruptions(builder.history)) for builder in (stopped, failed, healed)] == [[], [], []]


def test_a_worker_that_fell_to_the_same_fault_takes_nothing_up() -> None:
    builder = (
        HistoryBuilder()
        .at(1)
        .began(1, by=12)
        .began(1, by=13, fence=2)
        .at(2)
        .killed(1, 12, 13, fault="kill-pool")
    )
    assert [one.waited for one in interruptions(builder.history)] == [None, None]
    builder.at(3).ran(1, by=14, fence=3)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(1.0)] * 2


def test_each_kill_of_a_task_is_a_separate_sample() -> None:
    builder = (
        HistoryBuilder()
        .at(1)
        .began(1, by=12)
        .at(2)
        .killed(12)
        .at(2.25)
        .began(1, by=13, fence=2)
        .at(3)
        .killed(13)
    )
    found = interruptions(builder.at(3.75).ran(1, by=14, fence=3).history)
    assert [(one.worker, one.fault.label) for one in found] == [
        ("worker-12", "kill-worker 1"),
        ("worker-13", "kill-worker 2"),
    ]
    assert [one.waited for one in found] == [pytest.approx(0.25), pytest.approx(0.75)]


def test_every_kill_before_the_task_begins_again_restarts_the_clock() -> None:
    builder = (
        HistoryBuilder().at(1).began(1, by=12).at(2).killed(12).at(5).killed(13).at(6).ran(1, by=14, fence=2)
    )
    builder = builder.at(7).began(2, by=14).killed(14)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(4.0), None]
    assert [one.waited for one in interruptions(builder.history, from_last_kill=True)] == [
        pytest.approx(1.0),
        None,
    ]


@pytest.mark.parametrize(("bound", "verdict"), [(0.9, Verdict.INVALID), (1.1, Verdict.VALID)])
def test_a_bound_from_the_last_kill_on(bound: float, verdict: Verdict) -> None:
    builder = (
        HistoryBuilder().at(1).began(1, by=12).at(2).killed(12).at(5).killed(13).at(6).ran(1, by=14, fence=2)
    )
    result = recovery(bound, from_last_kill=True)(builder.recorded(1, fence=2).history)
    assert result.verdict is verdict
    slow = "begun again after 1.000 s from the last kill on"
    assert all(slow in one["why"] for one in result.counterexamples)


def test_a_kill_at_the_moment_of_the_new_beginning_is_later_than_it() -> None:
    builder = HistoryBuilder().at(1).began(1, by=12).at(2).killed(12).at(3).ran(1, by=14, fence=2).killed(15)
    (one,) = interruptions(builder.history, from_last_kill=True)
    assert one.waited == pytest.approx(1.0)


def test_a_task_that_runs_elsewhere_already_has_not_waited() -> None:
    builder = (
        HistoryBuilder()
        .at(1)
        .began(1, by=12)
        .at(1.5)
        .began(1, by=13, fence=2)
        .at(2)
        .killed(12)
        .ended(1, by=13, fence=2)
    )
    assert [one.waited for one in interruptions(builder.history)] == [0.0]


def test_a_run_with_an_unknown_outcome_had_an_outcome() -> None:
    builder = HistoryBuilder().began(1, by=12).ended(1, by=12, outcome=INFO).killed(12)
    assert interruptions(builder.history) == []


def test_one_late_task_in_a_hundred_and_one_is_within_the_p99() -> None:
    builder = HistoryBuilder()
    for task in range(101):
        waited = 5.0 if task == 50 else 0.5
        builder.at(task * 10).began(task, by=task + 100).at(task * 10 + 1).killed(task + 100)
        builder.at(task * 10 + 1 + waited).ran(task, by=task + 101, fence=2)
    result = recovery(2.0)(builder.history)
    assert result.verdict is Verdict.VALID
    assert [result.figures["p99"], result.figures["max"]] == [pytest.approx(0.5), pytest.approx(5.0)]
    assert [one["task"] for one in result.counterexamples] == [50]


def test_the_quantiles_are_also_given_by_kind_of_fault() -> None:
    builder = HistoryBuilder()
    for task, (fault, waited) in enumerate([("kill-worker", 0.1), ("kill-worker", 0.3), ("kill-pool", 0.7)]):
        builder.at(task * 10).began(task, by=task + 100).at(task * 10 + 1).killed(task + 100, fault=fault)
        builder.at(task * 10 + 1 + waited).ran(task, by=task + 200, fence=2)
    builder.began(9, by=999).killed(999, fault="kill-host").recorded(9, status="error")
    figures = recovery(2.0)(builder.history).figures
    worker = [figures[f"kill-worker_{name}"] for name in ("p50", "p95", "p99", "max")]
    assert worker == [pytest.approx(0.1), *[pytest.approx(0.3)] * 3]
    assert figures["kill-pool_p50"] == figures["kill-pool_max"] == figures["max"] == pytest.approx(0.7)
    assert figures["kill-host_p99"] is None


@pytest.mark.parametrize(
    ("quantile", "expected"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_the_nearest_rank_is_always_a_value_that_was_seen(quantile: float, expected: float) -> None:
    assert nearest_rank([1.0, 2.0, 3.0, 4.0], quantile) == expected


def test_a_wait_of_exactly_the_bound_is_within_it() -> None:
    result = recovery(0.5)(interrupted(resumed_after=0.5).history)
    assert (result.verdict, result.counterexamples) == (Verdict.VALID, ())


def test_the_figures_count_what_was_resumed_and_hold_the_bound() -> None:
    figures = recovery(2.0)(interrupted(resumed_after=0.5).history).figures
    assert (figures["interrupted"], figures["resumed"], figures["stuck"], figures["bound"]) == (1, 1, 0, 2.0)


def test_a_fault_without_a_number_is_called_by_its_name_alone() -> None:
    builder = (
        HistoryBuilder()
        .began(1, by=12)
        .op("nemesis", INFO, "kill-worker", phase="inject", kind="kill", pids=[12])
    )
    assert [one.fault.label for one in interruptions(builder.history)] == ["kill-worker"]
