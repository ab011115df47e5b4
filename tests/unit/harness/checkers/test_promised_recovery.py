"""The bound of a recovery is the promise for what the faults took while the task waited, and for nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.checkers import recovery, standard
from harness.checkers.asked import as_promised
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history import InjectionKind
from harness.history.promises import Loss, Promises
from tests.support.histories import HistoryBuilder

MADE = Promises(
    survives=frozenset(Loss) - {Loss.BROKER_EMPTIED},
    recovers_within={
        Loss.WORKER_KILLED: 2.0,
        Loss.POOL_KILLED: 7.0,
        Loss.BROKER_FROZEN: 30.0,
        Loss.BROKER_RESTARTED: 75.0,
    },
)


def killed(builder: HistoryBuilder, loss: Loss, *, at: float, waited: float, task: int = 1) -> HistoryBuilder:
    pid = 100 + task
    builder.at(at).began(task, by=pid).injected("kill", InjectionKind.KILL, pids=[pid], loss=loss)
    return builder.at(at + waited).ran(task, by=12, fence=2)


def judged(builder: HistoryBuilder, made: Promises = MADE) -> CheckResult:
    return as_promised(check_all(standard(), builder.promised(made).history), builder.history)["recovery"]


@pytest.mark.parametrize(("waited", "verdict"), [(1.5, Verdict.VALID), (5.0, Verdict.INVALID)])
def test_a_longer_promise_for_another_fault_of_the_run_is_no_excuse(waited: float, verdict: Verdict) -> None:
    builder = killed(HistoryBuilder(), Loss.WORKER_KILLED, at=1, waited=waited)
    killed(builder, Loss.POOL_KILLED, at=20, waited=6.0, task=2)
    builder.at(40).injected("restart-redis", InjectionKind.DISCONNECT, loss=Loss.BROKER_RESTARTED)
    found = judged(builder)
    assert found.verdict is verdict
    assert [one["task"] for one in found.counterexamples] == [1] * (verdict is Verdict.INVALID)


@pytest.mark.parametrize(("waited", "verdict"), [(20.0, Verdict.VALID), (31.0, Verdict.INVALID)])
def test_another_fault_while_the_task_waits_has_its_promise(waited: float, verdict: Verdict) -> None:
    builder = (
        HistoryBuilder()
        .at(2.5)
        .injected("stall-redis", InjectionKind.PAUSE, loss=Loss.BROKER_FROZEN, seconds=7.0)
    )
    assert judged(killed(builder, Loss.WORKER_KILLED, at=1, waited=waited)).verdict is verdict


def test_a_server_that_stands_while_its_client_is_killed_has_the_longer_promise() -> None:
    builder = HistoryBuilder().at(1).began(1, by=101)
    builder.injected("kill-while-redis-stands", InjectionKind.KILL, pids=[101], loss=Loss.BROKER_FROZEN)
    assert judged(builder.at(20).ran(1, by=12, fence=2)).verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("within", "verdict"), [({}, Verdict.NOT_ASKED), ({Loss.WORKER_KILLED: 9.0}, Verdict.NOT_ASKED)]
)
def test_what_another_loss_took_for_good_is_not_asked_to_begin_again(
    within: Mapping[Loss, float], verdict: Verdict
) -> None:
    builder = HistoryBuilder().at(1).began(1, by=101)
    builder.injected("kill", InjectionKind.KILL, pids=[101], loss=Loss.WORKER_KILLED)
    builder.injected("flush-redis", InjectionKind.DATA_LOSS, loss=Loss.BROKER_EMPTIED)
    made = Promises(survives=frozenset({Loss.WORKER_KILLED}), recovers_within=within)
    assert judged(builder, made).verdict is verdict


def test_an_explicit_bound_holds_for_every_kill() -> None:
    builder = killed(HistoryBuilder().promised(MADE), Loss.WORKER_KILLED, at=1, waited=5.0)
    assert recovery(6.0)(builder.history).verdict is Verdict.VALID
