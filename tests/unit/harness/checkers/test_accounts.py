"""Results, delays and charges: what a task is worth to its caller, when it may begin, and what it is charged for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.checkers import charges, delays, results
from harness.checkers.base import Verdict
from harness.checkers.charges import recorded_charges
from harness.checkers.delays import recorded_delays
from harness.checkers.results import recorded_results
from harness.history import History, InjectionKind
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder


def ran(builder: HistoryBuilder, fence: int, *, by: int, result: str | None) -> HistoryBuilder:
    builder.began(1, by=by, fence=fence)
    returned = {} if result is None else {"result": result}
    return builder.op(f"worker-{by}", OK, "run", task=1, activity="a1", fence=fence, **returned)


def record(builder: HistoryBuilder, **value: Any) -> HistoryBuilder:
    whole = {"task": 1, "activity": "a1", "status": "complete", "attempt": 1, "fence": 2} | value
    return builder.op("postgres", INFO, "record", **whole)


def two_runs() -> HistoryBuilder:
    return ran(ran(HistoryBuilder().enqueued(1), 1, by=12, result="old"), 2, by=13, result="new")


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        ({"result": "new"}, "new", None),
        ({"result": "new"}, None, None),
        ({}, "new", None),  # the record does not show results
        ({"result": "old"}, None, "wrong"),
        ({"result": None}, None, "wrong"),
        ({"result": "new"}, "old", "refused"),
        ({"status": "canceled", "result": None}, None, None),
        ({"status": "canceled", "result": "new"}, None, "kept"),
        ({"status": "error", "result": None}, "old", "early"),
    ],
)
def test_a_caller_reads_what_the_accepted_run_returned(
    value: dict[str, Any], shown: str | None, kind: str | None
) -> None:
    builder = record(two_runs(), **value)
    if shown is not None:
        builder.op("redis", INFO, "result", task=1, activity="a1", result=shown)
    result = results()(builder.history)
    assert [one["kind"] for one in result.counterexamples] == ([] if kind is None else [kind])
    assert result.verdict is (Verdict.VALID if kind is None else Verdict.INVALID)
    assert recorded_results(builder.history).keys() == {"results"}


def test_runs_that_do_not_say_what_they_return_show_nothing() -> None:
    history = record(ran(HistoryBuilder().enqueued(1), 2, by=12, result=None), result="x").history
    assert results()(history).verdict is Verdict.UNKNOWN
    assert recorded_results(history) == {}


def test_results_that_nothing_shows_are_not_judged() -> None:
    for history in (two_runs().history, record(two_runs()).history):
        assert results()(history).verdict is Verdict.UNKNOWN


def delayed(begins: float, *, again: bool = False) -> HistoryBuilder:
    builder = HistoryBuilder().at(1).op("client", INVOKE, "enqueue", task=1, delay=0.5)
    if again:  # the reply was lost: the first request counts
        builder.op("client", INFO, "enqueue", task=1).at(1.4).op(
            "client", INVOKE, "enqueue", task=1, delay=0.5
        )
    return builder.op("client", OK, "enqueue", task=1, activity="a1").at(begins).ran(1, by=12)


@pytest.mark.parametrize(
    ("builder", "early"),
    [
        (delayed(1.6), 0),
        (delayed(1.46), 0),
        (delayed(1.5, again=True), 0),
        (delayed(1.3), 1),
        (delayed(40.0), 0),
    ],
)
def test_no_delayed_task_begins_before_it_is_due(builder: HistoryBuilder, early: int) -> None:
    result = delays()(builder.history)
    assert result.figures["early"] == early
    assert result.verdict is (Verdict.INVALID if early else Verdict.VALID)


def test_a_clock_that_changed_leaves_delays_open() -> None:
    history = delayed(1.1).injected("redis-clock", InjectionKind.CLOCK).history
    assert delays()(history).verdict is Verdict.UNKNOWN
    assert recorded_delays(history) == {}
    assert recorded_delays(delayed(1.1).history).keys() == {"delays"}
    assert delays()(HistoryBuilder().enqueued(1).ran(1, by=12).history).verdict is Verdict.UNKNOWN


def test_delayed_tasks_that_never_began_show_nothing() -> None:
    builder = HistoryBuilder().op("client", INVOKE, "enqueue", task=1, delay=0.5).enqueued(2).ran(2, by=12)
    result = delays()(builder.history)
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, "none of 1 delayed tasks began")


def failed_once(
    status: str = "queued", meanwhile: Callable[[HistoryBuilder], object] = lambda _: None
) -> HistoryBuilder:
    """The handler fails under fence 1, and the second run completes; or the task ends with the first."""
    builder = HistoryBuilder().enqueued(1).began(1, by=12).ended(1, by=12, outcome=FAIL)
    meanwhile(builder)
    rows = (("queued", 0, 0), ("running", 1, 0), (status, 1, 1))
    if status == "queued":
        return builder.ran(1, by=13, fence=2).logged(1, *rows, ("running", 2, 0), ("complete", 2, 1))
    return builder.logged(1, *rows)


def kind_of(history: History) -> str | None:
    result = charges()(history)
    assert (result.verdict is Verdict.INVALID) is bool(result.counterexamples)
    return next((str(one["kind"]) for one in result.counterexamples), None)


@pytest.mark.parametrize(("count", "kind"), [(0, "uncharged"), (1, None), (2, "charged")])
def test_each_failure_that_is_tried_again_is_charged_once(count: int, kind: str | None) -> None:
    assert kind_of(record(failed_once(), failures=count).history) == kind


FAULTS: list[Callable[[HistoryBuilder], object]] = [
    lambda builder: builder.killed(12),
    lambda builder: builder.sigterm(12),
    lambda builder: builder.injected("pause-worker", pids=[12], seconds=9.0),
    lambda builder: builder.injected("flush-redis", InjectionKind.DATA_LOSS),
]


@pytest.mark.parametrize("strike", FAULTS)
def test_what_a_fault_may_have_taken_need_not_be_charged(strike: Callable[[HistoryBuilder], object]) -> None:
    builder = failed_once(meanwhile=strike)
    assert kind_of(record(HistoryBuilder.of(builder), failures=0).history) is None
    assert kind_of(record(builder, failures=1).history) is None


@pytest.mark.parametrize("strike", FAULTS)
def test_a_fault_after_the_retry_began_takes_no_charge(strike: Callable[[HistoryBuilder], object]) -> None:
    builder = failed_once()
    strike(builder)
    assert kind_of(record(builder, failures=0).history) == "uncharged"


def test_a_canceled_task_need_not_be_charged() -> None:
    for failures in (0, 1):
        assert kind_of(record(failed_once("canceled"), failures=failures).history) is None


def test_neither_the_last_failure_nor_a_release_is_charged() -> None:
    assert kind_of(record(failed_once("error"), status="error", failures=0).history) is None
    assert kind_of(record(failed_once("error"), status="error", failures=1).history) == "charged"
    released = HistoryBuilder().enqueued(1).began(1, by=12).ended(1, by=12, outcome=INFO)
    released.logged(1, ("queued", 0, 0), ("running", 1, 0), ("queued", 1, 1))
    assert kind_of(record(released, status="queued", failures=1).history) == "charged"


def test_records_that_count_nothing_show_nothing() -> None:
    history = failed_once().recorded(1).history
    assert charges()(history).verdict is Verdict.UNKNOWN
    assert recorded_charges(history) == {}
    assert recorded_charges(record(failed_once(), failures=1).history).keys() == {"charges"}
