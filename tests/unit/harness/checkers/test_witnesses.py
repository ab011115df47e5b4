from __future__ import annotations

from typing import Any

import pytest

from harness.checkers import witnesses
from harness.checkers.base import CheckResult, Verdict
from tests.support.histories import FAIL, INFO, OK, HistoryBuilder


def agreed() -> HistoryBuilder:
    return HistoryBuilder().enqueued(1, 2).ran(1, 2, by=12).recorded(1, 2)


def judged(builder: HistoryBuilder, **queue: Any) -> CheckResult:
    return witnesses()(builder.queue(**queue).history)


def pairs(result: CheckResult) -> list[tuple[object, object]]:
    return [(one["kind"], one.get("task")) for one in result.counterexamples]


def test_four_sources_that_agree_are_valid() -> None:
    result = judged(agreed())
    assert result.verdict is Verdict.VALID
    assert set(result.figures.values()) == {0}
    assert len(result.figures) == 6


def test_unknown_outcomes_contradict_nothing() -> None:
    builder = agreed().enqueued(3, 4, outcome=INFO).enqueued(5, outcome=None).ran(3, by=12).recorded(3)
    assert judged(builder).verdict is Verdict.VALID


@pytest.mark.parametrize("silent", ["enqueue", "run", "record", "queue"])
def test_an_empty_evidence_source_is_unknown_and_named(silent: str) -> None:
    builder = agreed().queue()
    builder.operations = [op for op in builder.operations if op.f != silent]
    result = witnesses()(builder.history)
    names = {"enqueue": "client", "run": "workers", "record": "postgres", "queue": "redis"}
    assert (result.verdict, result.summary) == (
        Verdict.UNKNOWN,
        f"the history has no evidence from {names[silent]}",
    )


def test_workers_that_ran_what_the_client_knows_as_refused_contradict_it() -> None:
    builder = agreed().enqueued(3, outcome=FAIL).ran(3, by=12)
    assert pairs(judged(builder)) == [("client-workers", 3)]
    assert pairs(judged(agreed().ran(9, by=12))) == [("client-workers", 9)]


def test_a_record_that_is_missing_or_too_many_contradicts_the_client() -> None:
    assert pairs(judged(agreed().enqueued(3))) == [("client-postgres", 3)]
    assert pairs(judged(agreed().enqueued(3, outcome=FAIL).recorded(3, status="canceled"))) == [
        ("client-postgres", 3)
    ]
    anonymous = agreed().op("client", OK, "enqueue", task=8)
    assert pairs(judged(anonymous)) == [("client-postgres", 8)]


def test_a_queue_that_knows_more_than_was_ever_submitted_contradicts_the_client() -> None:
    assert ("client-redis", None) in pairs(judged(agreed(), known=3, dead=3))


def test_a_completion_that_no_worker_returned_contradicts_the_workers() -> None:
    builder = agreed().enqueued(3).began(3, by=12).recorded(3)
    assert pairs(judged(builder)) == [("workers-postgres", 3)]


def test_a_record_below_the_fence_of_a_finished_run_contradicts_the_workers() -> None:
    builder = agreed().enqueued(3).ran(3, by=12, fence=1).ran(3, by=12, fence=4).recorded(3, fence=1)
    assert pairs(judged(builder)) == [("workers-postgres", 3)]


def test_a_queue_that_still_has_an_ended_task_contradicts_postgres() -> None:
    result = judged(agreed(), leased=1, known=1, held=["a2"])
    assert pairs(result) == [("postgres-redis", 2), ("workers-redis", 2)]
    assert result.figures["workers_redis"] == result.figures["postgres_redis"] == 1
    assert result.figures["client_redis"] == 0
    killed = agreed().killed(12)
    assert pairs(judged(killed, leased=1, known=1, held=["a2"])) == [("postgres-redis", 2)]


def test_a_pending_record_that_the_queue_does_not_know_contradicts_it() -> None:
    builder = agreed().enqueued(3).recorded(3, status="queued")
    assert pairs(judged(builder, held=[])) == [("postgres-redis", 3)]
    assert judged(builder, ready=1, known=1, held=["a3"]).verdict is Verdict.VALID


def test_a_queue_that_only_counts_is_compared_by_numbers_without_dead_letters() -> None:
    builder = agreed().enqueued(3, 4).recorded(3, status="queued").recorded(4, status="error")
    assert judged(builder, ready=1, dead=1, known=2).verdict is Verdict.VALID
    assert pairs(judged(builder, dead=1, known=1)) == [("postgres-redis", 3)], (
        "a queue that holds nothing lacks each"
    )
    assert pairs(judged(builder, ready=2, dead=1, known=3)) == [("postgres-redis", None)]


def test_a_queue_may_know_as_much_as_may_have_been_submitted() -> None:
    assert judged(agreed(), dead=2, known=2).verdict is Verdict.VALID
    unsure = agreed().enqueued(3, 4, outcome=INFO)
    assert judged(unsure, dead=4, known=4).verdict is Verdict.VALID
    twice = (
        agreed().op("client", OK, "enqueue", task=2, activity="b2").recorded(2, activity="b2", status="error")
    )
    assert judged(twice, dead=3, known=3).verdict is Verdict.VALID


def test_an_acknowledgement_without_an_activity_is_met_by_any_record_of_the_task() -> None:
    assert judged(agreed().op("client", OK, "enqueue", task=1)).verdict is Verdict.VALID


@pytest.mark.parametrize("first", [1, 2])
def test_only_the_last_holder_of_a_task_can_contradict_the_queue_that_holds_it(first: int) -> None:
    builder = agreed().enqueued(3).recorded(3, status="running", fence=2)
    for fence in (first, 3 - first):
        builder.began(3, by=12 + fence, fence=fence)
    builder.ended(3, by=13, fence=1)
    assert judged(builder, leased=1, known=1, held=["a3"]).verdict is Verdict.VALID
    again = judged(builder.ended(3, by=14, fence=2), leased=1, known=1, held=["a3"])
    assert pairs(again) == [("workers-redis", 3)]


def test_a_contradiction_is_invalid() -> None:
    assert judged(agreed().enqueued(3)).verdict is Verdict.INVALID
    assert judged(agreed(), known=3, dead=3).verdict is Verdict.INVALID


def test_the_record_of_another_activity_is_not_the_acknowledged_one() -> None:
    assert pairs(judged(agreed().op("client", OK, "enqueue", task=2, activity="b2"))) == [
        ("client-postgres", 2)
    ]


def test_a_run_without_a_row_in_postgres_hides_no_other() -> None:
    builder = HistoryBuilder().enqueued(1, outcome=INFO).enqueued(3).ran(1, by=12).ran(3, by=12, fence=4)
    assert pairs(judged(builder.recorded(3, status="canceled", fence=1))) == [("workers-postgres", 3)]


def test_a_queue_that_names_its_dead_letters_or_all_it_knows_is_understood() -> None:
    builder = agreed().enqueued(3, 4).recorded(3, status="queued").recorded(4, status="error")
    assert judged(builder, dead=["a4"], known=2).verdict is Verdict.VALID
    assert judged(builder, dead=["a4"], known=["a3", "a4"]).verdict is Verdict.VALID
