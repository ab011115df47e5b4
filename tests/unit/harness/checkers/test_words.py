"""The sentences of every checker, word for word: readers decide by them where to look."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from harness.checkers import (
    availability,
    causality,
    delivery,
    duplicates,
    effects,
    exits,
    faults_injected,
    fencing,
    locks,
    nothing_left,
    priorities,
    progress,
    recovery,
    shutdown,
    standard,
    transitions,
    witnesses,
)
from harness.checkers.base import Checker, CheckResult, Verdict, check_safe
from harness.checkers.priorities import SLACK
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder


def whys(result: CheckResult) -> list[tuple[str, object, str]]:
    return [(one["kind"], one.get("task"), one["why"]) for one in result.counterexamples]


def submitted(priority: str, *tasks: int, builder: HistoryBuilder | None = None) -> HistoryBuilder:
    builder = builder or HistoryBuilder()
    for task in tasks:
        builder.op("client", INVOKE, "enqueue", task=task, priority=priority)
        builder.op("client", OK, "enqueue", task=task, activity=f"a{task}")
    return builder


EMPTY = HistoryBuilder()
ONE = HistoryBuilder().enqueued(1)
NEEDED = "are required"


@pytest.mark.parametrize(
    ("checker", "builder", "summary"),
    [
        (availability, EMPTY, "nothing was submitted"),
        (partial(availability, minimum_share=1), ONE, "nothing was submitted during a fault"),
        (causality, ONE, "no submitted task began"),
        (delivery, EMPTY, "nothing was submitted"),
        (delivery, ONE, "the store has no record of any of 1 task submitted"),
        (partial(duplicates, 0), EMPTY, "no handler finished"),
        (partial(effects, minimum=2), EMPTY, f"0 activities had an effect, 2 {NEEDED}"),
        (exits, EMPTY, "no pool ended without a kill"),
        (
            partial(faults_injected, 2, minimum_kills=3),
            HistoryBuilder().killed(9),
            f"1 fault injected, 1 process killed; 2 and 3 {NEEDED}",
        ),
        (fencing, EMPTY, "the workers recorded no fences"),
        (fencing, HistoryBuilder().ran(1, by=12), "the store shows no fences"),
        (partial(locks, minimum=2), EMPTY, f"0 tasks with a lock key ran, 2 {NEEDED}"),
        (nothing_left, EMPTY, "the history has no report of the queue"),
        (
            partial(priorities, ("high", "middle", "low"), minimum=2),
            EMPTY,
            "0 waits of priority low can be judged, 2 are required",
        ),
        (partial(progress, minimum=2), EMPTY, f"0 attempts show a percentage, 2 {NEEDED}"),
        (partial(recovery, 2.0), EMPTY, "the faults interrupted nothing"),
        (partial(shutdown, 5, 1), EMPTY, "no pool got SIGTERM"),
        (
            partial(shutdown, 5, 1),
            HistoryBuilder().sigterm(12).exited(),
            "1 pool got SIGTERM, but none had a task running",
        ),
        (transitions, EMPTY, "the store has no log of any transition"),
        (witnesses, EMPTY, "the history has no evidence from client and workers and postgres and redis"),
    ],
)
def test_a_checker_without_evidence_names_what_it_lacks(
    checker: Callable[[], Checker], builder: HistoryBuilder, summary: str
) -> None:
    result = checker()(builder.history)
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, summary)


LOCKED = HistoryBuilder().locked("k", 1, 2).ran(1, by=12).ran(2, by=13, fence=2)
LOGGED = HistoryBuilder().logged(1, ("queued", 0, 0), ("running", 1, 0, 0), ("complete", 1, 1, 100))
FAULTY = (
    HistoryBuilder()
    .enqueued(1, 2)
    .op("client", INVOKE, "enqueue", task=3)
    .at(4)
    .op("client", OK, "enqueue", task=3)
    .enqueued(4, outcome=INFO)
    .killed(12)
    .enqueued(5, outcome=INFO)
    .at(9)
    .killed(13)
)


@pytest.mark.parametrize(
    ("checker", "builder", "summary"),
    [
        (
            availability,
            FAULTY,
            "before faults 75.0% available, p99 3996.0 ms; after faults 0.0% available",
        ),
        (causality, HistoryBuilder().enqueued(1).ran(1, by=12), "1 task began after submission"),
        (
            delivery,
            HistoryBuilder()
            .enqueued(1)
            .enqueued(2, outcome=INFO)
            .recorded(1)
            .ran(1, by=12)
            .ran(1, by=13, fence=2),
            "1 acknowledged, 0 lost, 1 unknown, 1 duplicated",
        ),
        (
            delivery,
            HistoryBuilder().enqueued(1, outcome=INFO).ran(1, by=12).recorded(1),
            "0 acknowledged, 0 lost, 1 unknown, 1 recovered",
        ),
        (
            partial(duplicates, 3),
            HistoryBuilder().ran(1, by=12).ran(1, by=13, fence=2).ran(1, by=14, fence=3),
            "2 surplus executions of 1 task, 3 excused",
        ),
        (
            effects,
            HistoryBuilder().effect(1, by=12).effect(1, by=13, fence=2).effect(2, by=12),
            "3 effects of 2 activities, each taken once",
        ),
        (partial(effects, minimum=0), EMPTY, "no handler took an effect"),
        (exits, HistoryBuilder().exited().exited(parent=2), "2 pools ended with code 0, 0 killed"),
        (faults_injected, HistoryBuilder().sigterm(9), "1 fault injected, 0 processes killed"),
        (
            fencing,
            HistoryBuilder().ran(1, by=12).recorded(1),
            "1 run of 1 activity, each under its own fence",
        ),
        (locks, LOCKED, "2 tasks under 1 lock key, one at a time"),
        (partial(locks, minimum=0), EMPTY, "no task had a lock key"),
        (nothing_left, HistoryBuilder().queue(), "the queue is empty"),
        (
            partial(priorities, ("high", "middle", "low")),
            submitted("low", 1).ran(1, by=12),
            "1 task of priority low served in time",
        ),
        (partial(priorities, minimum=0), EMPTY, "the workload gave no task a priority"),
        (progress, LOGGED, "2 percentages of 1 attempt, none falls and none is missing"),
        (partial(progress, minimum=0), EMPTY, "no attempt has a percentage"),
        (
            partial(recovery, 2.0),
            HistoryBuilder().began(1, by=12).at(1).killed(12).at(1.5).ran(1, by=13, fence=2),
            "1 run interrupted, recovery p99 0.500 s (bound 2 s), longest 0.500 s",
        ),
        (
            partial(recovery, 2.0),
            HistoryBuilder().began(1, by=12).killed(12).recorded(1, status="error"),
            "1 run interrupted, none began again",
        ),
        (
            partial(shutdown, 5, 1),
            HistoryBuilder().began(1, by=12).at(1).sigterm(12).at(1.5).ended(1, by=12).at(3).exited(),
            "1 pool stopped, 1 task drained, 0 released, slowest stop 2.000 s",
        ),
        (transitions, LOGGED, "3 transitions of 1 activity, all legal"),
        (
            witnesses,
            HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).queue(),
            "client, workers, Postgres and Redis agree",
        ),
    ],
)
def test_a_good_run_is_summarized_with_its_numbers(
    checker: Callable[[], Checker], builder: HistoryBuilder, summary: str
) -> None:
    result = checker()(builder.history)
    assert (result.verdict, result.summary) == (Verdict.VALID, summary)


def test_an_unavailable_system_is_reported_by_each_bound_that_it_broke() -> None:
    during = HistoryBuilder().injected("pause", seconds=9)
    slow = during.enqueued(1).enqueued(2, outcome=INFO)
    result = availability(minimum_share=0.75, enqueue_p99=0.0005)(slow.history)
    share = "50.0% of submissions during faults were acknowledged, the bound is 75.0%"
    assert whys(result) == [
        ("unavailable", None, share),
        ("unavailable", None, "submissions during faults: p99 0.001 s, the bound is 0.0005 s"),
    ]
    assert result.summary == "; ".join(why for _, _, why in whys(result))
    dark = HistoryBuilder().injected("pause", seconds=9).enqueued(1, outcome=INFO)
    assert whys(availability(enqueue_p99=9)(dark.history)) == [
        ("unavailable", None, "submissions during faults: none was acknowledged, the bound is 9 s")
    ]


def test_each_end_of_a_task_has_its_own_wording() -> None:
    builder = HistoryBuilder().enqueued(*range(1, 6)).enqueued(6, 7, outcome=INFO).enqueued(8, outcome=FAIL)
    builder.ran(1, 6, 8, by=12).began(9, by=12).recorded(1, 6).recorded(2, activity="b2")
    builder.recorded(4, status="error").recorded(5, status="queued")
    assert whys(delivery()(builder.history)) == [
        ("lost", 2, "acknowledged as another activity than the one in the store's record"),
        ("lost", 3, "acknowledged, but the store has no record of it"),
        ("stuck", 5, "acknowledged, but its record is still queued"),
        ("unexpected", 8, "certainly refused"),
        ("unexpected", 9, "never submitted"),
        ("ended badly", 4, "its record says error or canceled"),
        ("recovered", 6, "its submission had an unknown outcome, and it completed"),
        ("unknown", 7, "its submission had an unknown outcome, and it did not complete"),
    ]
    lenient = HistoryBuilder().enqueued(1).recorded(1, status="queued")
    asked = delivery(allow_queued=True)
    undecided = "still queued in the record, and there is no report of the queue"
    assert whys(asked(lenient.history)) == [("undecided", 1, undecided)]
    assert whys(asked(lenient.queue(known=1).history)) == [
        ("pending", 1, "still queued, as this scenario allows")
    ]


def test_a_duplicate_is_reported_with_the_number_of_its_executions() -> None:
    builder = HistoryBuilder().ran(1, by=12).ran(1, by=13, fence=2).ran(1, by=14, fence=3)
    assert whys(duplicates(0)(builder.history)) == [("duplicated", 1, "its handler finished 3 times")]


def test_an_effect_that_was_not_applied_once_is_reported_with_its_tokens() -> None:
    builder = HistoryBuilder().effect(1, by=12).effect(1, by=12).effect(2, by=13, fence=3)
    builder.effect(2, by=12, fence=2, outcome=FAIL).effect(3, by=12, fence=1)
    builder.recorded(2, fence=2).recorded(3, fence=2).recorded(4)
    result = effects()(builder.history)
    assert whys(result) == [
        ("twice", 1, "its effect under fence 1 was taken 2 times"),
        (
            "refused",
            2,
            "complete under fence 2, but its effect was refused: the store had seen a higher fence",
        ),
        ("overwritten", 2, "complete under fence 2, but the effect under fence 3 stands"),
        ("missing", 3, "complete under fence 2, but without its effect"),
        ("missing", 4, "complete, but without its effect"),
    ]
    assert result.summary == f"5 effects not exactly once; the first: task 1: {whys(result)[0][2]}"
    assert result.counterexamples[0]["operations"] == "never started; no record"


def test_a_pool_that_failed_is_reported_with_its_exit_code() -> None:
    result = exits()(HistoryBuilder().exited(code=3).exited(parent=2).history)
    why = "pool-1 (pid 1) ended with code 3"
    assert result.counterexamples == ({"kind": "exit", "pool": "pool-1", "pid": 1, "code": 3, "why": why},)
    assert result.summary == f"1 of 2 pools did not end with code 0; the first: {why}"
    assert result.figures == {"exits": 2, "killed": 0, "bad": 1}
    killed = exits()(HistoryBuilder().killed(1).exited(code=-9).history)
    assert killed.figures == {"exits": 1, "killed": 1, "bad": 0}


def test_a_breach_of_fencing_is_reported_with_its_tokens() -> None:
    builder = HistoryBuilder().began(1, by=12, fence=5).began(1, by=13, fence=5)
    builder.ran(1, by=14, fence=9).ran(1, by=15, fence=7).logged(1, ("complete", 9, 1), ("complete", 8, 1))
    result = fencing()(builder.recorded(1, fence=8).history)
    assert whys(result) == [
        ("shared", 1, "2 runs had the same fence 5"),
        ("unearned", 1, "complete under fence 8, but no handler finished under it"),
        ("two winners", 1, "complete under the fences 8, 9"),
        ("forgotten", 1, "a run had fence 9, but the record has fence 8"),
        ("overtaken", 1, "the run under fence 7 began after that under 9"),
    ]
    assert result.summary == f"4 breaches of fencing; the first: task 1: {whys(result)[0][2]}"


def test_an_overlap_under_a_lock_key_is_reported_with_both_workers() -> None:
    builder = (
        HistoryBuilder().locked("k", 1, 2).at(1).began(1, by=12).at(1.5).began(2, by=13).at(2).ended(1, by=12)
    )
    result = locks()(builder.at(3).ended(2, by=13).history)
    why = "task 2 began in worker-13 under lock key 'k' while task 1 ran in worker-12, 0.500 s together"
    assert whys(result) == [("overlap", 2, why)]
    assert result.summary == f"1 overlaps under a lock key; the first: {why}"


def test_what_a_queue_still_has_is_reported_by_state() -> None:
    result = nothing_left()(HistoryBuilder().queue(ready=3, scheduled=1, dead=1, known=6).history)
    assert result.summary == "the queue still holds 3 ready, 1 scheduled, 1 unaccounted; 1 dead letters"


def test_a_task_that_too_many_passed_is_reported_with_the_numbers() -> None:
    highs = range(7 + SLACK + 1)
    builder = submitted("low", 500, builder=submitted("high", *highs)).ran(*highs, by=12).ran(500, by=12)
    result = priorities()(builder.history)
    why = "task 500 of priority low waited while 72 runs of other priorities and 0 of its own began; the bound is 71"
    assert whys(result) == [("starved", 500, why)]
    assert result.summary == f"1 task was passed by too many others; the first: {why}"
    lows = range(500, 500 + SLACK + 2)
    builder = submitted("high", 1, 2, builder=submitted("low", *lows)).ran(1, by=12).ran(*lows, by=12)
    why = "task 2 of priority high waited while 66 runs of other priorities and 1 of its own began; the bound is 65"
    assert whys(priorities()(builder.ran(2, by=12).history)) == [("inverted", 2, why)]


def test_a_breach_of_progress_is_reported_with_its_row_and_reports() -> None:
    builder = HistoryBuilder().reported(1, 20, 40).logged(1, ("running", 1, 1, 20), ("running", 1, 2, 10))
    builder.logged(2, ("running", 1, 1, 101)).reported(3, 5, 6).logged(3, ("running", 1, 1, 5))
    result = progress()(builder.reported(2, 101).recorded(3).history)
    assert whys(result) == [
        ("falling", 1, "row 2 under fence 1 says 10 % after 20 %"),
        ("outside", 2, "row 1 under fence 1 says 101 %"),
        ("garbled", 1, "the log under fence 1 has [20, 10] of the reports [20, 40]"),
        ("missing", 3, "complete under fence 1 with [5] of the reports [5, 6]"),
    ]
    assert result.summary == f"4 breaches of progress; the first: task 1: {whys(result)[0][2]}"
    assert result.counterexamples[-1]["fence"] == 1
    assert result.counterexamples[-1]["log"] == [(1, 1, "running", 5)]


def test_an_interrupted_task_is_reported_with_worker_fault_and_wait() -> None:
    builder = HistoryBuilder().began(1, by=12).began(2, by=12).at(1).killed(12).at(4).ran(1, by=13, fence=2)
    result = recovery(2.0)(builder.history)
    assert whys(result) == [
        ("stuck", 2, "interrupted in worker-12 by kill-worker 1 and never begun again"),
        ("slow", 1, "interrupted in worker-12 by kill-worker 1, begun again after 3.000 s (bound 2 s)"),
    ]
    text = "2 runs interrupted, recovery p99 3.000 s (bound 2 s), longest 3.000 s; 1 never began again"
    assert result.summary == text


def test_a_stop_that_was_not_graceful_is_reported_with_pool_and_worker() -> None:
    builder = (
        HistoryBuilder().began(1, by=12).at(1).sigterm(12).at(2).ended(1, by=12, outcome=INFO).exited(code=1)
    )
    result = shutdown(5, 1)(builder.history)
    let_go = "released it 1.000 s after the signal, although the graceful time-out is 5 s"
    assert whys(result) == [
        ("pool", None, "pool pool-1 ended with exit code 1"),
        ("dropped", 1, f"worker-12 of pool pool-1 {let_go}"),
    ]
    assert result.counterexamples[0]["pool"] == "pool-1"
    assert result.summary == "2 breaches of a graceful stop; the first: pool pool-1 ended with exit code 1"


def test_an_illegal_transition_is_reported_with_its_rows() -> None:
    rows = [("running", 5, 1), ("complete", 5, 1), ("running", 5, 3), ("queued", 9, 0)]
    result = transitions()(HistoryBuilder().logged(1, *rows).recorded(1, fence=4).recorded(2).history)
    assert whys(result) == [
        ("first", 1, "the log begins with complete, not with queued"),
        ("gap", 1, "the log under fence 5 begins with row 1, not with row 0"),
        ("repeated", 1, "row 1 under fence 5 exists twice"),
        ("illegal", 1, "complete (fence 5) was followed by running (fence 5)"),
        ("gap", 1, "the log under fence 5 has row 3 where row 2 belongs"),
        ("unfinished", 1, "the log ends with queued"),
        ("record", 1, "the record says complete, its log ends with queued"),
        ("record", 2, "the record says complete, but it has no log at all"),
    ]
    assert result.summary == f"2 of 2 activities took an illegal path; the first: {whys(result)[0][2]}"
    fell = (
        HistoryBuilder()
        .logged(1, ("queued", 0, 0), ("error", 5, 0))
        .logged(2, ("queued", 0, 0), ("error", 0, 1))
    )
    assert whys(transitions()(fell.recorded(1, status="error", fence=4).history)) == [
        ("record", 1, "the record's fence fell to 4, its log reached 5"),
        ("record", 2, "the log ends with error, but the store has no record"),
    ]


def test_a_contradiction_is_reported_with_both_evidence_sources() -> None:
    builder = HistoryBuilder().enqueued(1, 2, 4).enqueued(3, outcome=FAIL).ran(3, by=12).recorded(3)
    builder.began(2, by=12).recorded(2, fence=7).ran(1, by=12, fence=4).recorded(1, status="running", fence=3)
    result = witnesses()(builder.queue(leased=1, held=["a2", "a1"], known=9).history)
    accepted = "the client got an acknowledgement, but Postgres has no record of it"
    returned = "a handler returned under fence 4, but Postgres has only fence 3"
    unearned = "Postgres records it as complete under fence 7, but no handler returned under that fence"
    lived_on = "worker-12 finished it under the last fence and was not killed, but Redis still holds it"
    refused = "by the client's evidence certainly refused"
    assert whys(result) == [
        ("client-redis", None, "at most 3 tasks were submitted, but Redis knows 9"),
        ("client-workers", 3, f"{refused}, but a worker ran it"),
        ("client-postgres", 3, f"{refused}, but Postgres has a record of it"),
        ("client-postgres", 4, accepted),
        ("workers-postgres", 2, unearned),
        ("workers-postgres", 1, returned),
        ("postgres-redis", 2, "its record is complete, but Redis still holds it"),
        ("workers-redis", 1, lived_on),
    ]
    assert result.summary == f"8 contradictions; the first: client-workers: {refused}, but a worker ran it"


def test_a_contradiction_of_store_and_queue_is_reported_by_name_or_number() -> None:
    builder = HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).recorded(2, status="queued")
    assert whys(witnesses()(builder.queue(held=[]).history)) == [
        ("postgres-redis", 2, "its record is queued, but Redis does not hold it")
    ]
    assert whys(witnesses()(builder.queue(known=2).history)) == [
        ("postgres-redis", None, "Postgres has 1 pending tasks, but Redis holds 2, dead letters aside")
    ]


def test_an_operation_that_cannot_be_read_is_reported_with_the_remedy() -> None:
    builder = HistoryBuilder().op("worker-12", OK, "run", task="one")
    result = check_safe(duplicates(0), builder.history)
    assert result.summary == (
        "the checker itself failed: ValueError: a run operation of worker-12 has 'one' where the number 'task' "
        "belongs; record it as a whole number"
    )


def test_a_feature_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(
        ValueError, match=r"feature 'lock'; choose from effects, progress, locks, priorities$"
    ):
        standard(uses=("lock",))
