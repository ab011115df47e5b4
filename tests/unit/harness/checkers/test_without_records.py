"""A system that promises no records: the evidence of its workers and its queue says which tasks are done."""

from __future__ import annotations

import pytest

from harness.checkers import delivery
from harness.checkers.base import CheckResult, Verdict
from harness.history.promises import Loss, Promises
from harness.run.judging import judge
from harness.scenario.bundled import SCENARIOS
from tests.support.histories import FAIL, INFO, HistoryBuilder

BARE = Promises(survives=frozenset({Loss.WORKER_KILLED}))


def built(made: Promises = BARE) -> HistoryBuilder:
    """Tasks 1 and 2 ran, the latter again after a kill; task 3 was interrupted and nothing shows it again."""
    builder = HistoryBuilder().promised(made).enqueued(1, 2, 3).ran(1, by=12).began(2, by=12).began(3, by=12)
    return builder.killed(12).ran(2, by=13, fence=2)


def found(builder: HistoryBuilder) -> tuple[Verdict, dict[str, list[int]]]:
    result: CheckResult = delivery()(builder.history)
    by_kind: dict[str, list[int]] = {}
    for one in result.counterexamples:
        by_kind.setdefault(one["kind"], []).append(one["task"])
    return result.verdict, by_kind


def test_every_acknowledged_task_returned() -> None:
    assert found(built().ran(3, by=13, fence=2).drained()) == (Verdict.VALID, {})


def test_a_task_that_never_returned_is_lost() -> None:
    assert found(built().drained()) == (Verdict.INVALID, {"lost": [3]})
    assert found(built().drained().queue(held=[])) == (Verdict.INVALID, {"lost": [3]})


def test_a_task_that_the_queue_or_the_end_of_the_drain_still_counts_is_stuck() -> None:
    assert found(built().drained(unfinished=1)) == (Verdict.INVALID, {"stuck": [3]})
    assert found(built().drained(unfinished=1).queue(held=["a3"])) == (Verdict.INVALID, {"stuck": [3]})
    assert found(built().drained(unfinished=1).queue(leased=1)) == (Verdict.INVALID, {"stuck": [3]})


def test_a_task_that_had_not_the_promised_time_is_unfinished() -> None:
    slow = Promises(survives=frozenset({Loss.WORKER_KILLED}), recovers_within={Loss.WORKER_KILLED: 75.0})
    assert found(built(slow).drained(unfinished=1)) == (Verdict.UNKNOWN, {"unfinished": [3]})
    assert found(built(slow).drained(unfinished=1, patience=75.0)) == (Verdict.INVALID, {"stuck": [3]})
    cut = built().phase("the drain", FAIL).broke_down("Tasks were left after 60 s.")
    assert found(cut) == (Verdict.UNKNOWN, {"unfinished": [3]})


def test_a_queue_that_holds_a_task_whose_record_comes_only_with_its_run_is_waited_for() -> None:
    slow = Promises(records=True, takes_over_after=30.0, survives=frozenset({Loss.WORKER_KILLED}))
    builder = built(slow).recorded(1, 2)
    assert found(builder.drained(unfinished=1)) == (Verdict.UNKNOWN, {"unfinished": [3]})
    assert found(built(slow).recorded(1, 2).drained()) == (Verdict.INVALID, {"lost": [3]})


def test_records_that_exist_although_they_are_not_promised_count() -> None:
    assert found(built().drained().recorded(1).recorded(3, status="error")) == (
        Verdict.INVALID,
        {"ended badly": [3]},
    )
    assert found(built().drained(unfinished=1).recorded(3, status="running")) == (
        Verdict.INVALID,
        {"stuck": [3]},
    )


def test_a_task_whose_gate_the_harness_did_not_open_is_not_judged() -> None:
    error = "GateError: the gate 'task-3' was not opened within 60 s."
    builder = built().op("worker-13", FAIL, "run", task=3, activity="a3", error=error)
    assert found(builder.drained()) == (Verdict.UNKNOWN, {"ended badly": [3]})


def test_an_unknown_submission_is_recovered_by_its_run() -> None:
    builder = (
        HistoryBuilder().promised(BARE).enqueued(1, outcome=INFO).enqueued(2, outcome=INFO).ran(1, by=12)
    )
    assert found(builder.drained()) == (Verdict.VALID, {"recovered": [1], "unknown": [2]})


@pytest.mark.parametrize("made", [None, Promises(records=True, survives=BARE.survives)])
def test_records_that_are_promised_and_not_shown_are_unknown(made: Promises | None) -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).drained()
    if made is not None:
        builder.promised(made)
    assert delivery()(builder.history).verdict is Verdict.UNKNOWN


def test_a_whole_run_without_records_has_a_verdict() -> None:
    scenario = SCENARIOS["kill-worker-mid-task"]
    builder = HistoryBuilder().promised(BARE).enqueued(*range(1, 40))
    for task in range(1, 40):
        builder.ran(task, by=12, fence=None)
    for pid in range(20, 50):
        builder.killed(pid)
    builder.drained().exited()
    results = judge(scenario, builder.history)
    assert Verdict.combine(one.verdict for one in results.values()) is Verdict.VALID, results
