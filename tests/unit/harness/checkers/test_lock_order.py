"""Of two tasks with one lock key, the one that was acknowledged first begins first."""

from __future__ import annotations

import pytest

from harness.checkers import lock_order
from harness.checkers.base import Verdict
from harness.checkers.lock_order import recorded_lock_order
from harness.history import InjectionKind
from harness.history.promises import Promises
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder

MADE = Promises(lock_order=True, steady_within=3.0)


def submitted(*, at: float = 0.0) -> HistoryBuilder:
    """Two tasks under one lock key, one submitted after the other."""
    return HistoryBuilder().promised(MADE).locked("a", 1, 2).at(at).enqueued(1).enqueued(2)


@pytest.mark.parametrize(
    ("builder", "verdict"),
    [
        (submitted().ran(1, by=12).ran(2, by=13), Verdict.VALID),
        (submitted().ran(2, by=12).ran(1, by=13), Verdict.INVALID),
        # The first attempt decides, a retry does not.
        (submitted().began(1, by=12).ended(1, by=12, outcome=FAIL).ran(2, 1, by=12), Verdict.VALID),
        (submitted().ran(2, by=12), Verdict.UNKNOWN),  # the other one never began
        (HistoryBuilder().enqueued(1, 2).ran(2, 1, by=12), Verdict.UNKNOWN),  # no lock key
        (HistoryBuilder().locked("a", 1).locked("b", 2).enqueued(1, 2).ran(2, 1, by=12), Verdict.UNKNOWN),
        # Without an acknowledgement, it may have been recorded after the other one.
        (
            HistoryBuilder().locked("a", 1, 2).enqueued(1, outcome=INFO).enqueued(2).ran(2, 1, by=12),
            Verdict.UNKNOWN,
        ),
    ],
)
def test_the_order_of_submission_is_that_of_the_first_runs(builder: HistoryBuilder, verdict: Verdict) -> None:
    assert lock_order()(builder.history).verdict is verdict
    assert bool(recorded_lock_order(builder.history)) is (verdict is not Verdict.UNKNOWN)


def test_a_breach_names_both_tasks_and_the_key() -> None:
    result = lock_order()(submitted().at(1).ran(2, by=12).at(3).ran(1, by=13).history)
    assert "task 2 began 2.000 s before task 1" in result.summary
    assert "lock key 'a'" in result.summary
    assert result.figures == {"compared": 1, "early": 1, "disturbed": 0}
    (found,) = result.counterexamples
    assert (found["task"], found["lock"], found["seconds"]) == (2, "a", pytest.approx(2.0, abs=0.01))


def test_each_task_is_compared_with_all_that_were_submitted_before() -> None:
    builder = HistoryBuilder().locked("a", 1, 2, 3).enqueued(1, 2, 3)
    result = lock_order()(builder.ran(2, 3, 1, by=12).history)
    assert [one["task"] for one in result.counterexamples] == [2, 3]


def test_submissions_at_the_same_time_have_no_order() -> None:
    builder = HistoryBuilder().locked("a", 1, 2)
    for task in (1, 2):
        builder.op("client", INVOKE, "enqueue", task=task, lock="a")
    for task in (1, 2):
        builder.enqueued(task, outcome=None)  # asked again, without an answer
    assert lock_order()(builder.ran(2, 1, by=12).history).verdict is Verdict.UNKNOWN


def test_a_delayed_task_is_not_compared() -> None:
    builder = HistoryBuilder().locked("a", 2)
    builder.op("client", INVOKE, "enqueue", task=1, lock="a", delay=5.0).op("client", OK, "enqueue", task=1)
    assert lock_order()(builder.enqueued(2).ran(2, 1, by=12).history).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("at", "verdict"), [(4.0, Verdict.UNKNOWN), (5.9, Verdict.UNKNOWN), (7.0, Verdict.INVALID)]
)
def test_a_fault_of_a_server_excuses_tasks_that_were_submitted_until_the_promised_steady_state(
    at: float, verdict: Verdict
) -> None:
    before = HistoryBuilder().promised(MADE).ran(9, by=12).at(1).injected("stall-redis", seconds=2.0)
    builder = HistoryBuilder.of(before).locked("a", 1, 2).at(at).enqueued(1).enqueued(2)
    assert lock_order()(builder.ran(2, 1, by=12).history).verdict is verdict


def test_the_death_of_a_worker_excuses_nothing() -> None:
    before = HistoryBuilder().promised(MADE).ran(9, by=12).killed(12)
    builder = HistoryBuilder.of(before).locked("a", 1, 2).enqueued(1).enqueued(2)
    assert lock_order()(builder.ran(2, 1, by=13).history).verdict is Verdict.INVALID
    stalled = HistoryBuilder.of(before).injected("stall-redis", InjectionKind.PAUSE, seconds=1.0)
    builder = HistoryBuilder.of(stalled).locked("a", 1, 2).enqueued(1).enqueued(2)
    assert lock_order()(builder.ran(2, 1, by=13).history).verdict is Verdict.UNKNOWN


def test_a_fault_that_may_have_taken_a_task_from_the_queue_before_it_began_excuses_it() -> None:
    """As a fail-over does to a replica that lacks the last writes: a pool brings the task back a second later."""
    lost = submitted().at(1).injected("fail-over-redis", InjectionKind.DATA_LOSS, seconds=0.0).at(20)
    assert lock_order()(lost.ran(2, by=12).ran(1, by=13).history).verdict is Verdict.UNKNOWN
