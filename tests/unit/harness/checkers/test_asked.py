"""A checker that asks for what is not promised counts for nothing; a broken promise is quoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness.checkers import standard
from harness.checkers.asked import as_promised
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history import History, InjectionKind
from harness.history.promises import DeliveryMode, Loss, Promises, Quote, SigtermPromise
from harness.targets.base import Target, TargetSettings
from harness.targets.promised import everything, promised
from tests.support.histories import INFO, HistoryBuilder

QUOTE = Quote(sentence="No task is lost when a worker dies.", address="https://example.invalid")
SURVIVED = frozenset({Loss.WORKER_KILLED})
MODEST = Promises(survives=SURVIVED, quotes={"worker-killed": QUOTE})
BROKEN = {name: CheckResult(verdict=Verdict.INVALID, summary="broken") for name in (*standard(), "shutdown")}


def history_of(made: Promises, *, loss: Loss = Loss.WORKER_KILLED) -> History:
    built = HistoryBuilder().op("runner", INFO, "promises", **made.to_value())
    killed = loss in (Loss.WORKER_KILLED, Loss.POOL_KILLED)
    kind = InjectionKind.KILL if killed else InjectionKind.OTHER
    return built.injected("fault", kind, pids=[1], loss=loss).history


def verdicts(made: Promises, *, loss: Loss = Loss.WORKER_KILLED) -> dict[str, Verdict]:
    judged = as_promised(BROKEN, history_of(made, loss=loss))
    return {name: result.verdict for name, result in judged.items()}


def test_without_recorded_promises_everything_is_asked() -> None:
    assert as_promised(BROKEN, HistoryBuilder().history) == BROKEN


def test_the_reference_implementation_is_asked_everything(tmp_path: Path) -> None:
    settings = TargetSettings(queue="q", folder=tmp_path, history=tmp_path, gate_address="g")
    assert set(verdicts(everything(settings)).values()) == {Verdict.INVALID}


def test_what_is_not_promised_is_not_asked() -> None:
    found = verdicts(MODEST)
    asked = {name for name, verdict in found.items() if verdict is not Verdict.NOT_ASKED}
    assert asked == {"evidence", "faults", "delivery", "exits", "causality", "availability"}


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Promises(survives=SURVIVED, log=True), "transitions"),
        (Promises(fences=True), "fencing"),
        (Promises(fences=True), "effects"),
        (Promises(survives=SURVIVED, queue=True), "queue"),
        (Promises(survives=SURVIVED, queue=True, records=True), "witnesses"),
        (Promises(locks=True), "locks"),
        (Promises(priorities=True), "priorities"),
        (Promises(progress=True), "progress"),
        (Promises(duplicates=True), "duplicates"),
        (Promises(delivery=DeliveryMode.AT_MOST_ONCE), "duplicates"),
        (Promises(sigterm=SigtermPromise.DRAINS), "shutdown"),
        (Promises(sigterm=SigtermPromise.RELEASES), "shutdown"),
        (Promises(recovers_within={Loss.WORKER_KILLED: 5.0}), "recovery"),
    ],
)
def test_each_promise_is_asked_for(made: Promises, name: str) -> None:
    assert verdicts(made)[name] is Verdict.INVALID
    assert verdicts(Promises(sigterm=SigtermPromise.STOPS))[name] is Verdict.NOT_ASKED


def test_a_loss_that_the_system_does_not_promise_to_survive() -> None:
    judged = as_promised(BROKEN, history_of(MODEST, loss=Loss.BROKER_EMPTIED))
    assert judged["delivery"].verdict is Verdict.NOT_ASKED
    assert "every acknowledged task ends after broker-emptied; broken" in judged["delivery"].summary


def test_a_recovery_time_is_asked_only_for_the_losses_that_have_one() -> None:
    made = Promises(recovers_within={Loss.WORKER_KILLED: 5.0})
    assert verdicts(made, loss=Loss.POOL_KILLED)["recovery"] is Verdict.NOT_ASKED


def test_a_broken_promise_is_quoted() -> None:
    assert as_promised(BROKEN, history_of(MODEST))["delivery"].promise == QUOTE


def test_a_kept_promise_is_not_quoted() -> None:
    kept = {"delivery": CheckResult(verdict=Verdict.VALID, summary="0 lost")}
    assert as_promised(kept, history_of(MODEST)) == kept


def test_promises_that_cannot_be_read_are_unknown() -> None:
    history = HistoryBuilder().op("runner", INFO, "promises", delivery="often").history
    judged = as_promised(BROKEN, history)
    assert judged["promises"].verdict is Verdict.UNKNOWN
    assert judged["delivery"] == BROKEN["delivery"]


def test_the_recovery_bound_is_the_promised_one() -> None:
    def judged(within: float) -> Verdict:
        made = Promises(recovers_within={Loss.WORKER_KILLED: within})
        built = HistoryBuilder().op("runner", INFO, "promises", **made.to_value()).enqueued(1)
        built.began(1, by=11).injected("kill-worker", InjectionKind.KILL, pids=[11], loss="worker-killed")
        built.at(8.0).ran(1, by=12, fence=2)
        return check_all(standard(), built.history)["recovery"].verdict

    assert judged(9.0) is Verdict.VALID
    assert judged(7.0) is Verdict.INVALID


def test_not_asked_counts_for_nothing() -> None:
    assert Verdict.combine([Verdict.VALID, Verdict.NOT_ASKED]) is Verdict.VALID
    assert Verdict.combine([Verdict.NOT_ASKED]) is Verdict.UNKNOWN
    assert Verdict.combine([Verdict.NOT_ASKED, Verdict.INVALID]) is Verdict.INVALID


@pytest.mark.parametrize("name", ["transitions", "queue", "witnesses"])
def test_what_a_loss_leaves_behind_is_asked_only_if_it_is_survived(name: str) -> None:
    made = Promises(survives=SURVIVED, log=True, records=True, queue=True)
    assert verdicts(made)[name] is Verdict.INVALID
    assert verdicts(made, loss=Loss.BROKER_EMPTIED)[name] is Verdict.NOT_ASKED


def test_a_pool_without_a_time_out_is_not_asked_to_end_before_a_task_that_goes_on() -> None:
    drains = Promises(sigterm=SigtermPromise.DRAINS)
    assert verdicts(drains, loss=Loss.SIGTERM)["shutdown"] is Verdict.INVALID
    assert verdicts(drains, loss=Loss.SIGTERM_LATE)["shutdown"] is Verdict.NOT_ASKED
    releases = Promises(sigterm=SigtermPromise.RELEASES)
    assert verdicts(releases, loss=Loss.SIGTERM_LATE)["shutdown"] is Verdict.INVALID


def test_a_target_without_promises_need_not_show_what_older_sessions_do_not(tmp_path: Path) -> None:
    """A session of older times gives no evidence of them, and UNKNOWN would be no answer."""
    settings = TargetSettings(queue="q", folder=tmp_path, history=tmp_path, gate_address="g")
    made = promised(cast("Target", object()), settings)
    every = everything(settings)
    shown: dict[str, Any] = dict.fromkeys(("results", "delays", "charges", "keys", "lock_order"), False)
    shown |= dict.fromkeys(("orphans_end_within", "cancels_within", "retry_pauses"))
    assert made == replace(every, **shown)
    assert all(getattr(every, name) for name in shown)
