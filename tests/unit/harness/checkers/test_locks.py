from __future__ import annotations

import pytest

from harness.checkers import locks
from harness.checkers.base import Verdict
from tests.support.histories import INFO, HistoryBuilder


def overlapping() -> HistoryBuilder:
    """Task 2 begins under the lock of task 1, which still runs, 0.4 s before it ends."""
    builder = HistoryBuilder().locked("user:1", 1, 2).at(1).began(1, by=12).at(1.5).began(2, by=13, fence=2)
    return builder.at(1.9).ended(1, by=12).at(3).ended(2, by=13, fence=2)


def test_tasks_that_follow_one_another_under_a_lock_key_are_valid() -> None:
    builder = HistoryBuilder().locked("k", 1, 2).ran(1, by=12).ran(2, by=13, fence=2)
    result = locks()(builder.history)
    assert result.verdict is Verdict.VALID
    assert (result.figures["locked_tasks"], result.figures["lock_keys"]) == (2, 1)


def test_two_tasks_at_once_under_one_key_are_invalid_and_the_overlap_is_shown() -> None:
    result = locks()(overlapping().history)
    assert result.verdict is Verdict.INVALID
    (found,) = result.counterexamples
    assert (found["kind"], found["task"], found["with"], found["lock"]) == ("overlap", 2, 1, "user:1")
    assert found["seconds"] == result.figures["longest_overlap"] == pytest.approx(0.4)
    assert "task 2 began in worker-13 under lock key 'user:1' while task 1 ran in worker-12" in result.summary


def test_tasks_under_different_keys_and_without_one_may_overlap() -> None:
    builder = HistoryBuilder().locked("a", 1).locked("b", 2).began(1, by=12).began(2, by=13).began(3, by=14)
    assert locks()(builder.ended(1, by=12).ended(2, by=13).history).verdict is Verdict.VALID


def test_a_killed_run_holds_its_lock_until_the_kill_and_no_longer() -> None:
    builder = HistoryBuilder().locked("k", 1, 2).began(1, by=12).killed(12).ran(2, by=13, fence=2)
    assert locks()(builder.history).verdict is Verdict.VALID
    builder = (
        HistoryBuilder()
        .locked("k", 1, 2)
        .began(1, by=12)
        .began(2, by=13, fence=2)
        .killed(12)
        .ended(2, by=13, fence=2)
    )
    assert locks()(builder.history).verdict is Verdict.INVALID


def test_of_a_run_with_an_unknown_end_only_the_beginning_is_certain() -> None:
    before = HistoryBuilder().locked("k", 1, 2).began(1, by=12).ran(2, by=13, fence=2)
    assert locks()(before.history).verdict is Verdict.VALID
    within = HistoryBuilder().locked("k", 1, 2).began(1, by=12).began(2, by=13, fence=2).ended(1, by=12)
    assert locks()(within.history).verdict is Verdict.INVALID


def test_a_canceled_run_held_its_lock_until_it_stopped() -> None:
    builder = (
        HistoryBuilder()
        .locked("k", 1, 2)
        .began(1, by=12)
        .began(2, by=13, fence=2)
        .ended(1, by=12, outcome=INFO)
    )
    assert locks()(builder.history).verdict is Verdict.INVALID


def test_after_a_pause_an_overlap_with_a_stale_run_is_only_reported() -> None:
    paused = HistoryBuilder().at(0.5).injected("pause-worker", pids=[12])
    paused.operations += overlapping().operations
    result = locks()(paused.recorded(2, fence=2).recorded(1, fence=3).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["fenced"] == 1
    assert result.summary.endswith("one at a time except for 1 overlaps after a lost lease")
    assert [one["kind"] for one in result.counterexamples] == ["fenced"]


def test_a_pause_excuses_no_overlap_of_two_runs_that_both_count() -> None:
    paused = HistoryBuilder().at(0.5).injected("pause-worker", pids=[12])
    paused.operations += overlapping().operations
    assert locks()(paused.recorded(1, fence=1).recorded(2, fence=2).history).verdict is Verdict.INVALID


def test_a_kill_or_a_sigterm_elsewhere_excuses_no_overlap() -> None:
    builder = HistoryBuilder().at(0.5).killed(99).sigterm(98)
    builder.operations += overlapping().operations
    assert locks()(builder.history).verdict is Verdict.INVALID


def test_a_redelivery_that_overlaps_its_earlier_run_is_left_to_fencing() -> None:
    builder = HistoryBuilder().locked("k", 1).began(1, by=12).began(1, by=13, fence=2).ended(1, by=12)
    result = locks()(builder.ended(1, by=13, fence=2).recorded(1, fence=2).history)
    assert (result.verdict, result.figures["fenced"]) == (Verdict.VALID, 1)


def test_without_lock_keys_the_verdict_is_unknown_unless_they_are_optional() -> None:
    history = HistoryBuilder().ran(1, by=12).history
    assert locks()(history).verdict is Verdict.UNKNOWN
    assert locks(minimum=0)(history).verdict is Verdict.VALID
    assert (
        locks(minimum=3)(HistoryBuilder().locked("k", 1, 2).ran(1, 2, by=12).history).verdict
        is Verdict.UNKNOWN
    )


def test_a_run_that_begins_when_the_other_ends_does_not_overlap() -> None:
    builder = (
        HistoryBuilder()
        .locked("k", 1, 2)
        .at(1)
        .began(1, by=12)
        .at(2)
        .ended(1, by=12)
        .at(2)
        .began(2, by=13, fence=2)
    )
    assert locks()(builder.at(3).ended(2, by=13, fence=2).history).verdict is Verdict.VALID


def test_the_longest_of_several_overlaps_is_reported_and_breaches_are_counted() -> None:
    builder = (
        HistoryBuilder()
        .locked("k", 1, 2, 3)
        .at(1)
        .began(1, by=12)
        .at(2)
        .began(2, by=13)
        .at(2.5)
        .began(1, by=14, fence=2)
    )
    builder.at(3).ended(1, by=12).ended(1, by=14, fence=2).at(4).began(3, by=15).at(4.25).ended(2, by=13)
    figures = locks()(builder.at(5).ended(3, by=15).history).figures
    assert (figures["overlaps"], figures["fenced"]) == (3, 1)
    assert figures["longest_overlap"] == pytest.approx(1.0)


def test_a_pause_at_the_very_moment_excuses_and_one_a_moment_later_does_not() -> None:
    for at, verdict in ((1.5, Verdict.VALID), (1.500001, Verdict.INVALID)):
        builder = overlapping().at(at).injected("pause-worker", pids=[12])
        assert locks()(builder.history).verdict is verdict


def test_a_worker_that_stood_between_its_claim_and_its_handler_begins_late() -> None:
    """Simulation, seed 322181220: its lease is over, another task of the key runs, and its result is refused."""
    before = HistoryBuilder().locked("a", 1, 2).injected("pause-worker", pids=[12], seconds=9.0).at(10)
    before.began(2, by=13).at(11).began(1, by=12).at(12).ended(2, by=13)
    result = locks()(before.history)
    assert (result.verdict, result.figures["fenced"]) == (Verdict.VALID, 1)
    other = HistoryBuilder().locked("a", 1, 2).injected("pause-worker", pids=[14], seconds=9.0).at(10)
    other.began(2, by=13).at(11).began(1, by=12).at(12).ended(2, by=13)
    other.began(3, by=14).ended(3, by=14)
    assert locks()(other.history).verdict is Verdict.INVALID
