from __future__ import annotations

import pytest

from harness.checkers import budget_per_fault, budget_per_kill, duplicates
from harness.checkers.base import Verdict
from harness.history import InjectionKind, OperationType
from harness.history.promises import DeliveryMode, Promises
from tests.support.histories import HistoryBuilder


def twice(*tasks: int) -> HistoryBuilder:
    return HistoryBuilder().enqueued(*tasks).ran(*tasks, by=12).ran(*tasks, by=13, fence=2)


def test_tasks_that_finished_once_need_no_budget() -> None:
    result = duplicates(0)(HistoryBuilder().ran(1, 2, by=12).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["surplus"] == 0


def test_a_surplus_within_the_budget_is_valid_and_its_tasks_are_named() -> None:
    result = duplicates(2)(twice(1, 2).history)
    assert result.verdict is Verdict.VALID
    assert [one["task"] for one in result.counterexamples] == [1, 2]


def test_a_surplus_over_the_budget_is_invalid_and_names_the_tasks() -> None:
    result = duplicates(1)(twice(1, 2).ran(3, by=12).history)
    assert result.verdict is Verdict.INVALID
    assert [one["task"] for one in result.counterexamples] == [1, 2]
    assert result.figures == {"executions": 5, "duplicated": 2, "surplus": 2, "budget": 1, "redelivered": 2}


def test_the_third_execution_of_one_task_counts_too() -> None:
    result = duplicates(1)(twice(1).ran(1, by=14, fence=3).history)
    assert result.verdict is Verdict.INVALID
    assert result.figures["surplus"] == 2


def test_a_redelivery_that_finished_once_is_no_duplicate() -> None:
    result = duplicates(0)(HistoryBuilder().began(1, by=12).killed(12).ran(1, by=13, fence=2).history)
    assert result.verdict is Verdict.VALID
    assert (result.figures["redelivered"], result.figures["duplicated"]) == (1, 0)


def test_each_killed_worker_excuses_as_many_duplicates_as_it_ran_tasks_at_once() -> None:
    builder = HistoryBuilder().ran(1, 2, by=12).killed(12).ran(1, 2, by=13, fence=2)
    assert duplicates(budget_per_kill(2))(builder.history).verdict is Verdict.VALID
    assert duplicates(budget_per_kill(1))(builder.history).verdict is Verdict.INVALID


def test_a_kill_excuses_no_duplicate_of_workers_that_lived() -> None:
    """Else a queue that runs everything twice would hide behind any kill."""
    builder = (
        HistoryBuilder()
        .began(9, by=12)
        .killed(12)
        .ran(9, by=13, fence=2)
        .ran(1, by=13)
        .ran(1, by=14, fence=2)
    )
    assert duplicates(budget_per_kill(4))(builder.history).verdict is Verdict.INVALID


def test_a_killed_parent_a_signalled_worker_and_a_failed_kill_excuse_nothing() -> None:
    builder = twice(1).killed(1).sigterm(12).injected("kill-worker", phase="heal", pids=[13])
    assert duplicates(budget_per_kill(4))(builder.history).figures["budget"] == 0


def test_without_a_finished_handler_the_verdict_is_unknown() -> None:
    assert duplicates(0)(HistoryBuilder().enqueued(1).began(1, by=12).history).verdict is Verdict.UNKNOWN


def test_a_kill_excuses_only_the_second_return_of_a_task_of_the_killed_worker() -> None:
    only_begun = HistoryBuilder().began(1, by=12).killed(12).ran(1, by=13, fence=2).ran(1, by=14, fence=3)
    only_begun_again = HistoryBuilder().ran(1, by=12).killed(12).began(1, by=13, fence=2)
    returned_once = HistoryBuilder().ran(1, by=12).killed(12)
    for builder in (only_begun, only_begun_again, returned_once):
        assert duplicates(budget_per_kill(4))(builder.history).figures["budget"] == 0


def test_each_injected_fault_excuses_as_many_duplicates_as_tasks_run_at_once() -> None:
    none = duplicates(budget_per_fault(2))(twice(1, 2).history)
    assert (none.verdict, none.figures["budget"]) == (Verdict.INVALID, 0)
    before = HistoryBuilder().enqueued(1, 2).ran(1, 2, by=12).killed(12).ran(1, 2, by=13, fence=2)
    once = duplicates(budget_per_fault(2))(before.history)
    assert (once.verdict, once.figures["budget"]) == (Verdict.VALID, 2)
    assert duplicates(budget_per_fault(1))(before.history).verdict is Verdict.INVALID


@pytest.mark.parametrize("lease", [None, 4.0])
def test_a_fault_excuses_no_duplicate_before_it_and_none_of_a_task_long_after_it(lease: float | None) -> None:
    builder = (
        HistoryBuilder() if lease is None else HistoryBuilder().promised(Promises(takes_over_after=lease))
    )
    for history in (
        HistoryBuilder.of(builder).enqueued(1).ran(1, by=12).ran(1, by=13, fence=2).killed(12).history,
        HistoryBuilder.of(builder)
        .killed(12)
        .at(100)
        .enqueued(1)
        .ran(1, by=12)
        .ran(1, by=13, fence=2)
        .history,
    ):
        assert duplicates(budget_per_fault(2))(history).verdict is Verdict.INVALID


def at_most_once() -> HistoryBuilder:
    return HistoryBuilder().promised(Promises(delivery=DeliveryMode.AT_MOST_ONCE, takes_over_after=1.0))


def test_a_system_that_promises_at_most_once_begins_no_task_again() -> None:
    assert duplicates(9)(at_most_once().ran(1, 2, by=12).history).verdict is Verdict.VALID
    interrupted = at_most_once().ran(2, by=12).began(1, by=12).killed(12)
    assert duplicates(9)(interrupted.history).verdict is Verdict.VALID
    result = duplicates(budget_per_kill(4))(interrupted.began(1, by=13, fence=2).history)
    assert result.verdict is Verdict.INVALID
    assert (result.figures["surplus"], result.figures["budget"]) == (1, 0)
    assert [(one["task"], one["why"]) for one in result.counterexamples] == [(1, "its handler began 2 times")]


def test_neither_a_kill_nor_a_slow_machine_excuses_a_second_run_of_at_most_one() -> None:
    returned_before = at_most_once().ran(1, by=12).killed(12).at(30).ran(1, by=13, fence=2)
    assert duplicates(budget_per_kill(4))(returned_before.history).verdict is Verdict.INVALID
    returned_before.slow_machine(0, 40, spin=9.0)
    assert duplicates(budget_per_kill(4))(returned_before.history).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("paused", "first", "again", "verdict"),
    [
        pytest.param((10, 30), (20, 13), (40, 12), Verdict.VALID, id="taken over, and begun after the pause"),
        pytest.param((10, 30), (5, 12), (20, 13), Verdict.INVALID, id="begun before the pause"),
        pytest.param((10, 30), (40, 12), (50, 13), Verdict.INVALID, id="not taken over during the pause"),
        pytest.param((10, 30), (20, 13), (40, 14), Verdict.INVALID, id="in a worker that was not paused"),
        pytest.param(
            (19.6, 20.4), (20, 13), (40, 12), Verdict.INVALID, id="a pause shorter than the promise"
        ),
    ],
)
def test_a_documented_take_over_excuses_what_a_silent_worker_begins_later(
    paused: tuple[float, float], first: tuple[float, int], again: tuple[float, int], verdict: Verdict
) -> None:
    """A worker that reserved a message without having begun it runs it after its pause, as Celery's do."""
    builder = at_most_once()
    builder.at(paused[0]).injected("pause-pool", pids=[12])
    builder.at(paused[1]).op("nemesis", OperationType.INFO, "pause-pool", fault=1, phase="heal")
    for moment, worker in (first, again):
        builder.at(moment).ran(1, by=worker)
    assert duplicates(0)(builder.history).verdict is verdict


def test_a_task_that_a_client_may_have_sent_twice_has_the_budget() -> None:
    builder = at_most_once().injected("lose-reply", InjectionKind.DISCONNECT, loss="reply-lost")
    builder.ran(1, by=12).ran(1, by=13)
    assert duplicates(1)(builder.history).verdict is Verdict.VALID
    assert duplicates(0)(builder.history).verdict is Verdict.INVALID


def test_two_submissions_of_a_task_may_run_once_each() -> None:
    builder = at_most_once().ran(1, by=12)
    for kind in (OperationType.INVOKE, OperationType.OK):
        builder.op("worker-13", kind, "run", task=1, activity="b1", fence=1)
    assert duplicates(0)(builder.history).verdict is Verdict.VALID


def test_at_most_once_without_a_run_that_returned_is_unknown_unless_one_began_again() -> None:
    assert duplicates(0)(at_most_once().began(1, by=12).history).verdict is Verdict.UNKNOWN
    assert duplicates(0)(at_most_once().began(1, by=12).began(1, by=13).history).verdict is Verdict.INVALID


def test_a_task_that_a_stopped_worker_gave_back_may_begin_again() -> None:
    given_back = at_most_once().began(1, by=12).sigterm(12).ended(1, by=12, outcome=OperationType.INFO)
    assert duplicates(0)(given_back.ran(1, by=13, fence=2).history).verdict is Verdict.VALID
    assert duplicates(0)(given_back.ran(1, by=14, fence=3).history).verdict is Verdict.INVALID
