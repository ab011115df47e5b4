"""A promised recovery time holds after losses that kill no worker, too."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.checkers import standard
from harness.checkers.asked import as_promised
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history import InjectionKind, OperationType
from harness.history.promises import Loss, Promises, Quote
from tests.support.histories import FAIL, INFO, OK, HistoryBuilder

QUOTE = Quote(sentence="Tasks go on within 3 s.", address="https://example.invalid")
FROZEN = {Loss.BROKER_FROZEN: 3.0}


def promising(within: Mapping[Loss, float]) -> HistoryBuilder:
    made = Promises(
        survives=frozenset(Loss) - {Loss.BROKER_EMPTIED},
        recovers_within=within,
        quotes={"recovers_within": QUOTE},
    )
    return HistoryBuilder().promised(made).enqueued(1).at(1).began(1, by=11)


def stopped(builder: HistoryBuilder, *, at: float, until: float, again: float | None) -> HistoryBuilder:
    """The broker stands still from 2 s on, and the run is stopped."""
    builder.at(2).injected("stall-redis", loss=Loss.BROKER_FROZEN, service="redis")
    builder.at(until).op("nemesis", INFO, "stall-redis", fault=1, phase="heal", kind="pause")
    builder.at(at).ended(1, by=11, outcome=INFO)
    return builder if again is None else builder.at(again).ran(1, by=11)


def paused(builder: HistoryBuilder, seconds: float, *, pid: int = 11) -> HistoryBuilder:
    builder.at(2).injected("pause-worker", pids=[pid], loss=Loss.WORKER_PAUSED, seconds=seconds)
    return builder.at(2 + seconds).op("nemesis", INFO, "pause-worker", fault=1, phase="heal", kind="pause")


def judged(builder: HistoryBuilder) -> CheckResult | None:
    history = builder.at(90).drained().history
    return as_promised(check_all(standard(recovery_p99=None), history), history).get("resumption")


@pytest.mark.parametrize(
    ("at", "again", "verdict"),
    [
        (3, 4, Verdict.VALID),
        (3, 8.9, Verdict.VALID),
        (3, 9.1, Verdict.INVALID),
        (7, 9.9, Verdict.VALID),
        (7, 10.1, Verdict.INVALID),
        (3, None, Verdict.INVALID),
    ],
)
def test_a_stopped_run_begins_again_in_time_after_the_heal(
    at: float, again: float | None, verdict: Verdict
) -> None:
    found = judged(stopped(promising(FROZEN), at=at, until=6, again=again))
    assert found is not None
    assert found.verdict is verdict
    assert found.promise == (QUOTE if verdict is Verdict.INVALID else None)


@pytest.mark.parametrize("outcome", [OK, FAIL])
def test_a_run_with_an_end_of_its_own_was_not_interrupted(outcome: OperationType) -> None:
    builder = promising(FROZEN).at(2).injected("stall-redis", loss=Loss.BROKER_FROZEN)
    found = judged(builder.at(3).ended(1, by=11, outcome=outcome).at(60).ran(1, by=11))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


def test_a_run_that_was_stopped_long_after_the_fault_was_not_interrupted_by_it() -> None:
    found = judged(stopped(promising(FROZEN), at=20, until=6, again=80))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


@pytest.mark.parametrize(("again", "verdict"), [(8.0, Verdict.VALID), (30.0, Verdict.UNKNOWN)])
def test_a_run_without_an_outcome_is_promised_and_not_shown(again: float, verdict: Verdict) -> None:
    builder = promising({Loss.BROKER_RESTARTED: 3.0}).at(6)
    builder.injected("restart-redis", InjectionKind.DISCONNECT, loss=Loss.BROKER_RESTARTED)
    found = judged(builder.at(again).ran(1, by=12))
    assert found is not None
    assert found.verdict is verdict
    assert ("promised and not shown" in found.summary) == (verdict is Verdict.UNKNOWN)


def test_a_run_whose_task_had_begun_again_before_the_fault_is_not_interrupted_but_the_next_one_is() -> None:
    """Two runs of a task at the same time: the lease of the first one ended."""
    builder = promising(FROZEN).at(1.5).began(1, by=12)
    builder.at(2).injected("stall-redis", loss=Loss.BROKER_FROZEN, service="redis")
    builder.at(6).op("nemesis", INFO, "stall-redis", fault=1, phase="heal", kind="pause")
    found = judged(builder.ended(1, by=12, outcome=INFO).at(30).ran(1, by=12))
    assert found is not None
    assert found.verdict is Verdict.INVALID
    assert found.figures["interrupted"] == 1


PAUSED = {Loss.WORKER_PAUSED: 3.0}


@pytest.mark.parametrize(("again", "verdict"), [(4.0, Verdict.VALID), (7.0, Verdict.INVALID)])
def test_another_worker_takes_the_task_of_a_paused_one_in_time(again: float, verdict: Verdict) -> None:
    builder = promising(PAUSED).at(1).op("worker-12", INFO, "hello", pid=12)
    builder = paused(builder, 10).ended(1, by=11).at(again).ran(1, by=12)
    found = judged(builder)
    assert found is not None
    assert found.verdict is verdict


def test_a_paused_worker_without_another_one_goes_on_itself() -> None:
    builder = promising(PAUSED).op("worker-11", INFO, "hello", pid=11)
    found = judged(paused(builder, 10).ended(1, by=11))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


def test_a_pause_of_another_worker_interrupts_nothing() -> None:
    builder = promising(PAUSED).at(1).op("worker-12", INFO, "hello", pid=12)
    found = judged(paused(builder, 10, pid=12).at(30).ended(1, by=11))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


def test_a_pause_shorter_than_the_promise_says_nothing_about_it() -> None:
    builder = promising(PAUSED).at(1).op("worker-12", INFO, "hello", pid=12)
    found = judged(paused(builder, 2).at(20).ended(1, by=11))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


def test_a_loss_without_a_promise_while_the_task_waits_leaves_it_open() -> None:
    builder = stopped(promising(FROZEN), at=3, until=6, again=None).at(8)
    builder.injected("restart-postgres", InjectionKind.DISCONNECT, loss=Loss.DATABASE_RESTARTED, seconds=60.0)
    found = judged(builder.at(50).ran(1, by=11))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


def test_without_a_promise_nothing_is_added() -> None:
    assert judged(stopped(promising({}), at=3, until=6, again=40)) is None


def test_a_kill_belongs_to_recovery() -> None:
    builder = promising(FROZEN | {Loss.WORKER_KILLED: 3.0}).at(2).injected("stall", loss=Loss.BROKER_FROZEN)
    builder.at(3).injected("kill", InjectionKind.KILL, pids=[11], loss=Loss.WORKER_KILLED)
    found = judged(builder.at(60).ran(1, by=12))
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED


def test_a_fault_that_takes_nothing_interrupts_no_run() -> None:
    builder = promising(FROZEN).at(2).injected("pause-worker", pids=[11])
    builder.at(5).op("nemesis", INFO, "pause-worker", fault=1, phase="heal", kind="pause").ended(1, by=11)
    builder.at(6).injected("stall-redis", loss=Loss.BROKER_FROZEN, seconds=1.0)
    found = judged(builder)
    assert found is not None
    assert found.verdict is Verdict.NOT_ASKED, found.summary
