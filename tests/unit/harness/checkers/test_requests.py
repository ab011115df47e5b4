"""Cancels, keys, retries and orphans: what a client asked for beside a task, and what a lost run does."""

from __future__ import annotations

from random import Random

import pytest

from harness.checkers import cancels, delivery, keys, orphans, retries
from harness.checkers.base import Verdict
from harness.checkers.cancels import recorded_cancels
from harness.checkers.keys import recorded_keys
from harness.checkers.orphans import recorded_orphans
from harness.checkers.retries import recorded_retries
from harness.history import InjectionKind, OperationType
from harness.history.promises import Promises, RetryPauses
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder

MADE = Promises(
    orphans_end_within=2.0, cancels_within=1.0, retry_pauses=RetryPauses(base=1.0, cap=4.0), steady_within=3.0
)


def canceled(answer: OperationType = OK) -> HistoryBuilder:
    """A task whose handler runs from second 1 on, with a cancel at second 2."""
    builder = HistoryBuilder().promised(MADE).enqueued(1).at(1).began(1, by=12).at(2)
    value = {"task": 1, "activity": "a1"}
    return builder.op("client", INVOKE, "cancel", **value).op("client", answer, "cancel", **value)


def stopped(builder: HistoryBuilder, at: float, outcome: OperationType = INFO) -> HistoryBuilder:
    return builder.at(at).ended(1, by=12, outcome=outcome)


@pytest.mark.parametrize(
    ("builder", "verdict"),
    [
        (stopped(canceled(), 2.5).recorded(1, status="canceled"), Verdict.VALID),
        (stopped(canceled(), 2.5, OK).recorded(1), Verdict.VALID),  # it returned before the cancel reached it
        (stopped(canceled(), 3.5).recorded(1, status="canceled"), Verdict.INVALID),
        (stopped(canceled(), 3.5, OK).recorded(1), Verdict.INVALID),
        (stopped(canceled(), 2.5).recorded(1, status="error"), Verdict.INVALID),
        (
            stopped(canceled(), 2.5).at(9).began(1, by=13, fence=2).recorded(1, status="canceled"),
            Verdict.INVALID,
        ),
        (stopped(canceled(), 2.5).recorded(1, status="error", fence=2), Verdict.VALID),  # a service ended it
        (canceled().at(9).killed(12).recorded(1, status="canceled"), Verdict.INVALID),
        (canceled().killed(12).recorded(1, status="canceled"), Verdict.VALID),
        (stopped(canceled(FAIL), 9, OK).recorded(1), Verdict.UNKNOWN),  # none was accepted
        (stopped(canceled(INFO), 9, OK).recorded(1), Verdict.UNKNOWN),
    ],
)
def test_an_accepted_cancel_comes_true_in_time(builder: HistoryBuilder, verdict: Verdict) -> None:
    assert cancels()(builder.history).verdict is verdict
    assert bool(recorded_cancels(builder.history)) is (verdict is not Verdict.UNKNOWN)


def test_a_cancel_counts_from_the_end_of_a_fault() -> None:
    during = canceled().at(2.2).injected("stall-redis", seconds=4.0)
    assert cancels()(stopped(HistoryBuilder.of(during), 7.0).history).verdict is Verdict.VALID
    assert cancels()(stopped(during, 7.5).history).verdict is Verdict.INVALID


def test_the_death_of_another_worker_delays_no_cancel() -> None:
    during = canceled().at(2.5).killed(13)
    assert cancels()(stopped(during, 3.4).history).verdict is Verdict.INVALID


def test_a_slow_machine_leaves_a_late_cancel_open() -> None:
    builder = stopped(canceled().slow_machine(2.0, 4.0, spin=10.0), 3.5)
    assert cancels()(builder.history).verdict is Verdict.UNKNOWN


def test_a_task_that_a_client_canceled_may_be_canceled() -> None:
    builder = stopped(canceled(), 2.5).recorded(1, status="canceled").queue()
    assert delivery()(builder.history).verdict is Verdict.VALID
    unasked = HistoryBuilder().enqueued(1).began(1, by=12).recorded(1, status="canceled").queue()
    assert delivery()(unasked.history).verdict is Verdict.INVALID


def submitted(
    *activities: str | None, key: str | None = "k", builder: HistoryBuilder | None = None
) -> HistoryBuilder:
    builder = HistoryBuilder() if builder is None else builder
    for activity in activities:
        builder.op("client", INVOKE, "enqueue", task=1, **({} if key is None else {"key": key}))
        if activity is None:
            builder.op("client", INFO, "enqueue", task=1)
        else:
            builder.op("client", OK, "enqueue", task=1, activity=activity)
    return builder


@pytest.mark.parametrize(
    ("builder", "verdict"),
    [
        (submitted("a1", "a1"), Verdict.VALID),
        (submitted(None, "a1").ran(1, by=12).recorded(1), Verdict.VALID),
        (submitted("a1", "a9"), Verdict.INVALID),
        (submitted(None, "a9").ran(1, by=12), Verdict.INVALID),  # the submission without an answer ran as a1
        (submitted(None, "a9").recorded(1), Verdict.INVALID),
        (submitted("a1"), Verdict.UNKNOWN),
        (submitted("a1", "a9", key=None), Verdict.UNKNOWN),  # two tasks were asked for
    ],
)
def test_submissions_with_one_key_are_one_task(builder: HistoryBuilder, verdict: Verdict) -> None:
    assert keys()(builder.history).verdict is verdict
    assert bool(recorded_keys(builder.history)) is (verdict is not Verdict.UNKNOWN)


def failed(pauses: list[float], *, promises: Promises = MADE) -> HistoryBuilder:
    """A task that fails once for each pause, and begins again after it."""
    builder = HistoryBuilder().promised(promises).enqueued(1).at(10)
    for number, pause in enumerate(pauses, start=1):
        builder.began(1, by=12, fence=number).ended(1, by=12, fence=number, outcome=FAIL)
        builder.now += round(pause * 1e9)
    return builder.ran(1, by=12, fence=len(pauses) + 1)


@pytest.mark.parametrize(
    ("pauses", "verdict"),
    [
        ([0.9], Verdict.VALID),
        ([0.9, 1.9, 3.9, 3.9], Verdict.VALID),
        ([3.9], Verdict.VALID),  # it waited for a slot
        ([4.1], Verdict.INVALID),
        ([0.5, 4.1], Verdict.VALID),
        ([0.5, 5.1], Verdict.INVALID),
        ([0.5, 0.5, 0.5, 0.5, 7.5], Verdict.INVALID),  # the cap holds
        ([], Verdict.UNKNOWN),
    ],
)
def test_a_retry_comes_within_its_pause(pauses: list[float], verdict: Verdict) -> None:
    assert retries()(failed(pauses).history).verdict is verdict


def test_what_is_cut_off_is_no_failure() -> None:
    builder = failed([0.5]).began(2, by=13).ended(2, by=13, outcome=INFO).at(60).ran(2, by=13, fence=2)
    assert retries()(builder.history).figures["retries"] == 1


def test_pauses_are_spread_over_their_bounds() -> None:
    draw = Random(1)
    builder = HistoryBuilder().promised(MADE)
    for task in range(1, 13):
        builder.enqueued(task).began(task, by=12).ended(task, by=12, outcome=FAIL)
    spread, at_once = HistoryBuilder.of(builder), HistoryBuilder.of(builder)
    for task in range(1, 13):
        spread.at(0.1 + draw.uniform(0, 0.9)).ran(task, by=12, fence=2)
        at_once.ran(task, by=12, fence=2)
    spread.operations.sort(key=lambda op: op.time)
    assert retries()(spread.history).verdict is Verdict.VALID
    found = retries()(at_once.history)
    assert found.verdict is Verdict.INVALID
    assert {one["task"] for one in found.counterexamples} == set(range(1, 13))


def test_a_pause_with_a_fault_is_not_judged() -> None:
    builder = HistoryBuilder().promised(MADE).enqueued(1).began(1, by=12).ended(1, by=12, outcome=FAIL)
    builder.at(1).injected("flush-redis", InjectionKind.DATA_LOSS).at(9).ran(1, by=12, fence=2)
    assert retries()(builder.history).verdict is Verdict.VALID


def test_pauses_without_a_promise_are_not_known() -> None:
    history = failed([99.0], promises=Promises()).history
    assert retries()(history).verdict is Verdict.UNKNOWN
    assert recorded_retries(history) == {}
    assert recorded_retries(failed([0.5]).history).keys() == {"retries"}


def overtaken(ended: float, *, outcome: OperationType = INFO) -> HistoryBuilder:
    """A run that another one overtakes at second 3, and that ends then and then."""
    builder = HistoryBuilder().promised(MADE).enqueued(1).at(1).began(1, by=12).at(3).began(1, by=13, fence=2)
    return builder.ended(1, by=13, fence=2).at(ended).ended(1, by=12, outcome=outcome)


@pytest.mark.parametrize(
    ("builder", "verdict"),
    [
        (overtaken(4.9), Verdict.VALID),
        (overtaken(5.1), Verdict.INVALID),
        (overtaken(5.1, outcome=OK), Verdict.INVALID),
        (overtaken(5.1, outcome=FAIL), Verdict.INVALID),
        (
            HistoryBuilder().promised(MADE).enqueued(1).ran(1, by=12).at(9).ran(1, by=13, fence=2),
            Verdict.VALID,
        ),
        (overtaken(5.1).slow_machine(3.0, 6.0, spin=10.0), Verdict.UNKNOWN),
    ],
)
def test_a_run_that_was_overtaken_ends_in_time(builder: HistoryBuilder, verdict: Verdict) -> None:
    assert orphans()(builder.history).verdict is verdict


def test_an_orphan_counts_from_the_end_of_its_workers_pause() -> None:
    def paused(pid: int, ended: float) -> HistoryBuilder:
        builder = HistoryBuilder().promised(MADE).enqueued(1).at(1).began(1, by=12)
        builder.at(2).injected("pause-worker", pids=[pid], seconds=4.0)
        return builder.at(3).ran(1, by=13, fence=2).at(ended).ended(1, by=12, outcome=INFO)

    assert orphans()(paused(12, 7.9).history).verdict is Verdict.VALID
    assert orphans()(paused(12, 8.1).history).verdict is Verdict.INVALID
    assert orphans()(paused(14, 7.9).history).verdict is Verdict.INVALID


def test_a_run_whose_lease_a_fail_over_may_have_given_back_is_no_orphan() -> None:
    """Simulation, seed 322182651: the new primary has the lease of the first run, and not that of the second."""

    def failed_over(at: float) -> HistoryBuilder:
        builder = HistoryBuilder().promised(MADE).enqueued(1).at(1).began(1, by=12)
        builder.at(3).ran(1, by=13, fence=2)
        builder.at(at).injected("fail-over-redis", InjectionKind.DATA_LOSS)
        return builder.at(9).ended(1, by=12, outcome=INFO)

    assert orphans()(failed_over(4).history).verdict is Verdict.VALID
    before = HistoryBuilder().promised(MADE).injected("fail-over-redis", InjectionKind.DATA_LOSS).enqueued(1)
    before.at(1).began(1, by=12).at(3).ran(1, by=13, fence=2).at(9).ended(1, by=12, outcome=INFO)
    assert orphans()(before.history).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("lost_at", "outcome", "verdict"),
    [
        (3.5, INFO, Verdict.VALID),
        (3.5, OK, Verdict.INVALID),  # its lease is in the queue, so no other run has one
        (1.5, INFO, Verdict.INVALID),  # before any claim of a run that begins at 4
    ],
)
def test_a_fail_over_may_have_forgotten_a_claim_whose_run_began_after_it(
    lost_at: float, outcome: OperationType, verdict: Verdict
) -> None:
    """Simulation, seed 516772669: the later run began 8 ms after the fail-over, and was stopped."""
    builder = HistoryBuilder().promised(MADE).enqueued(1).at(1).began(1, by=12)
    builder.at(lost_at).injected("fail-over-redis", InjectionKind.DATA_LOSS, seconds=0.25)
    builder.at(4).began(1, by=13, fence=2).at(5).ended(1, by=13, outcome=outcome, fence=2)
    assert orphans()(builder.at(9).ended(1, by=12, outcome=INFO).history).verdict is verdict


def test_an_orphan_without_a_bound_is_not_known() -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12)
    assert orphans()(builder.history).verdict is Verdict.UNKNOWN
    assert recorded_orphans(builder.history) == {}
    assert recorded_orphans(overtaken(4).history).keys() == {"orphans"}


@pytest.mark.parametrize("value", [{"base": 1}, {"base": 0, "cap": 1}, 3, {"base": 1, "cap": 2, "jitter": 1}])
def test_pauses_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="retry_pauses"):
        Promises.from_value({"retry_pauses": value})


def test_promised_times_are_read_as_they_are_recorded() -> None:
    assert Promises.from_value(MADE.to_value()) == MADE
