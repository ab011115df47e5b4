"""The readings of a history that checkers, reports and benchmarks share, and the figures that they make of them."""

from __future__ import annotations

import pytest

from harness.history import InjectionKind
from harness.history.faults import fault_spans, fault_windows
from harness.history.fields import optional_whole
from harness.history.figures import nearest_rank, quantile, quantiles, seconds
from harness.history.interruptions import interruptions
from harness.history.names import worker_name, worker_pid
from harness.history.runs import runs
from harness.history.submissions import submissions
from harness.history.workers import pool_exits, worker_lives
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder

SECOND = 1_000_000_000


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([1, 2, 3, 4], 0.99) == 4
    assert quantile([], 0.5) is None
    assert nearest_rank([1, 2, 3, 4], 0.5) == 2
    assert quantiles([5.0]) == {"p50": 5.0, "p95": 5.0, "p99": 5.0, "max": 5.0}
    assert set(quantiles([]).values()) == {None}
    assert seconds(1_500_000_000) == 1.5


def test_the_name_of_a_worker_holds_its_pid() -> None:
    assert worker_pid(worker_name(12)) == 12
    with pytest.raises(ValueError, match="'client' is not the name of a worker"):
        worker_pid("client")


def test_an_answer_belongs_to_the_request_of_its_task_or_to_none() -> None:
    builder = HistoryBuilder().enqueued(1).enqueued(2, outcome=None).op("client", OK, "enqueue", task=9)
    found = submissions(builder.enqueued(3, outcome=FAIL).history)
    assert [(one.task, one.acknowledged) for one in found] == [(1, True), (2, False), (3, False)]
    assert [one.answer is None for one in found] == [False, True, False]


def test_a_run_has_the_attempt_and_the_activity_that_its_worker_recorded() -> None:
    builder = (
        HistoryBuilder()
        .op("worker-1", INVOKE, "run", task=1, activity="a", attempt=2)
        .began(2, by=1, fence=7)
    )
    assert [(run.attempt, run.activity, run.fence) for run in runs(builder.history)] == [
        (2, "a", None),
        (None, "a2", 7),
    ]
    bad = HistoryBuilder().op("worker-1", INVOKE, "run", task=1, attempt="two").history
    with pytest.raises(ValueError, match="has 'two' where the number 'attempt' belongs"):
        _ = runs(bad)[0].attempt
    assert optional_whole(bad.operations[0], "fence") is None


def test_a_fault_lasts_until_its_repair_else_its_own_seconds_else_no_time() -> None:
    builder = HistoryBuilder().at(1).injected("a", seconds=2).at(5).injected("b", seconds=9)
    builder.at(6).op("nemesis", INFO, "b", fault=2, phase="heal").at(8).injected("c", pids=[3, 4], pid=2)
    healed, own = 6 * SECOND, 3 * SECOND
    found = fault_windows(builder.history)
    assert [(one.start, one.end, one.until) for one in found] == [
        (SECOND, None, own),
        (5 * SECOND, healed, healed),
        (8 * SECOND, None, 8 * SECOND),
    ]
    assert (found[2].pids, found[2].parent, found[2].workers) == ((3, 4), 2, ("worker-3", "worker-4"))
    assert [one.label for one in found] == ["a 1", "b 2", "c 3"]
    assert fault_spans(builder.history) == [(SECOND, own), (5 * SECOND, healed), (8 * SECOND, 8 * SECOND)]


def test_a_fault_that_is_logged_twice_is_one_and_failed_if_either_line_says_so() -> None:
    builder = HistoryBuilder().injected(
        "kill-worker", InjectionKind.KILL, type=INVOKE, pids=[1], pool="pool-1"
    )
    builder.op("nemesis", FAIL, "kill-worker", fault=1, phase="inject", pids=[2])
    (fault,) = fault_windows(builder.history)
    assert (fault.failed, fault.pids, fault.pool) == (True, (1, 2), "pool-1")
    assert fault_spans(builder.history) == []


def test_a_killed_worker_ends_with_the_kill_or_its_last_operation() -> None:
    builder = HistoryBuilder().op("worker-1", INFO, "hello", pid=1).at(1).killed(1, 2).at(2).began(1, by=2)
    history = builder.history
    dead, late = worker_lives(history)
    assert (dead.process, dead.ended) == ("worker-1", SECOND)
    assert (late.process, late.ended) == ("worker-2", 2 * SECOND)
    assert dead.killed_by is late.killed_by is fault_windows(history)[0]


def test_a_worker_of_a_stopped_pool_ends_with_it_and_others_have_no_end() -> None:
    builder = HistoryBuilder().began(1, by=12).ran(2, by=13).at(1).sigterm(12, parent=7).at(2).ended(1, by=12)
    lives = worker_lives(builder.at(3).exited(parent=7).history)
    assert [(life.process, life.ended, life.killed_by) for life in lives] == [
        ("worker-12", 3 * SECOND, None),
        ("worker-13", None, None),
    ]
    (gone,) = pool_exits(builder.history)
    assert (gone.pool, gone.pid, gone.code, gone.time) == ("pool-1", 7, 0, 3 * SECOND)


def test_an_interruption_names_the_run_that_took_over_and_is_stuck_without_one() -> None:
    builder = HistoryBuilder().began(1, by=12).began(2, by=12).began(3, by=12).at(1).killed(12).at(2)
    found = interruptions(builder.ran(1, by=13, fence=2).recorded(3, status="error").history)
    assert [one.again and one.again.process for one in found] == ["worker-13", None, None]
    assert [one.is_stuck for one in found] == [False, True, False]
