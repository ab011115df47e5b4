"""One loss that is not survived does not excuse what happened before it, or what no loss explains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.checkers import standard
from harness.checkers.asked import as_promised, unasked
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history import InjectionKind
from harness.history.promises import Loss, Promises, Quote
from tests.support.histories import FAIL, INFO, HistoryBuilder

QUOTE = Quote(sentence="A task begins again within 2 s.", address="https://example.invalid")
MADE = Promises(
    survives=frozenset({Loss.WORKER_KILLED}),
    recovers_within={Loss.WORKER_KILLED: 2.0},
    duplicates=True,
    quotes={"recovers_within": QUOTE},
)


def built() -> HistoryBuilder:
    """Task 1 runs, task 2 is interrupted at 1 s."""
    builder = HistoryBuilder().promised(MADE).enqueued(1, 2, 3).ran(1, by=10).at(1).began(2, by=11)
    return builder.injected("kill-worker", InjectionKind.KILL, pids=[11], loss=Loss.WORKER_KILLED)


def emptied(builder: HistoryBuilder, *, at: float) -> HistoryBuilder:
    return builder.at(at).injected("flush-redis", InjectionKind.DATA_LOSS, loss=Loss.BROKER_EMPTIED)


def judged(builder: HistoryBuilder) -> dict[str, CheckResult]:
    history = builder.at(60).drained(unfinished=0).history
    return as_promised(check_all(standard(), history), history)


def test_what_the_loss_may_have_taken_is_not_asked() -> None:
    found = judged(emptied(built().at(1.5).ran(2, by=12), at=4))
    assert found["delivery"].verdict is Verdict.NOT_ASKED
    assert found["delivery"].figures["lost"] == 1


@pytest.mark.parametrize("refused", [False, True])
def test_an_unexpected_task_is_judged_all_the_same(refused: bool) -> None:
    builder = built().at(1.5).ran(2, by=12)
    if refused:
        builder.enqueued(9, outcome=FAIL)
    found = judged(emptied(builder, at=4).at(5).ran(9, by=12))["delivery"]
    assert found.verdict is Verdict.INVALID
    assert [one["task"] for one in found.counterexamples] == [9]
    assert "no loss that the system does not survive explains task 9" in found.summary


def test_a_task_that_had_to_begin_again_before_the_loss_is_judged() -> None:
    found = judged(emptied(built(), at=4))
    assert [one["task"] for one in found["delivery"].counterexamples] == [2]
    assert {name: found[name].verdict for name in ("delivery", "recovery")} == dict.fromkeys(
        ("delivery", "recovery"), Verdict.INVALID
    )
    assert found["recovery"].promise == QUOTE


def test_a_task_that_could_still_begin_again_when_the_loss_came_is_not_asked() -> None:
    found = judged(emptied(built(), at=2.5))
    assert {found[name].verdict for name in ("delivery", "recovery")} == {Verdict.NOT_ASKED}


def test_a_late_recovery_before_the_loss_is_judged() -> None:
    found = judged(emptied(built().at(4).ran(2, by=12), at=5))["recovery"]
    assert found.verdict is Verdict.INVALID
    assert [one["kind"] for one in found.counterexamples] == ["slow"]


def test_a_recovery_in_time_before_the_loss_is_valid() -> None:
    assert judged(emptied(built().at(2).ran(2, by=12), at=5))["recovery"].verdict is Verdict.VALID


def test_a_kill_without_a_promise_does_not_leave_the_others_unasked() -> None:
    builder = built().at(20).began(3, by=13)
    builder.injected("kill-pool", InjectionKind.KILL, pids=[13], loss=Loss.POOL_KILLED)
    found = judged(builder)["recovery"]
    assert found.verdict is Verdict.INVALID
    assert [one["task"] for one in found.counterexamples] == [2]


def test_tasks_that_are_not_decided_count_as_kept_promises_of_the_p99() -> None:
    tasks = range(100, 300)
    builder = HistoryBuilder().promised(MADE).enqueued(*tasks)
    builder.at(1).began(100, by=11).injected("kill", InjectionKind.KILL, pids=[11], loss=Loss.WORKER_KILLED)
    builder.at(4).ran(100, by=12)
    for task in tasks[1:]:
        builder.began(task, by=13)
    builder.at(5).injected("kill", InjectionKind.KILL, pids=[13], loss=Loss.WORKER_KILLED)
    assert judged(emptied(builder, at=5.5))["recovery"].verdict is Verdict.VALID


def test_a_pool_that_ended_before_the_loss_is_not_excused() -> None:
    builder = built().at(2).ran(2, by=12).at(3).exited(parent=1, code=3)
    assert judged(emptied(builder, at=4))["exits"].verdict is Verdict.INVALID


def test_a_pool_that_ended_after_the_loss_is_excused() -> None:
    builder = emptied(built().at(2).ran(2, by=12), at=4).at(5).exited(parent=1, code=3)
    assert judged(builder)["exits"].verdict is Verdict.NOT_ASKED


def test_nothing_but_side_checks_is_no_verdict() -> None:
    builder = HistoryBuilder().promised(Promises()).enqueued(1)
    found = judged(emptied(builder.ran(1, by=10).exited(), at=4))
    assert found["asked"].verdict is Verdict.UNKNOWN
    assert Verdict.combine(one.verdict for one in found.values()) is Verdict.UNKNOWN


def test_a_checker_of_the_system_is_a_verdict() -> None:
    builder = HistoryBuilder().promised(Promises(duplicates=True)).enqueued(1)
    found = judged(emptied(builder.ran(1, by=10).exited(), at=4))
    assert "asked" not in found
    assert Verdict.combine(one.verdict for one in found.values()) is Verdict.VALID


FREEZES = replace(
    MADE,
    survives=frozenset({Loss.WORKER_KILLED, Loss.BROKER_FROZEN}),
    recovers_within={Loss.WORKER_KILLED: 2.0, Loss.BROKER_FROZEN: 5.0},
)


def frozen(builder: HistoryBuilder, *, until: float) -> HistoryBuilder:
    """The broker stands still from 1.5 s on, while task 2 waits."""
    builder.promised(FREEZES).at(1.5).injected("stall-redis", loss=Loss.BROKER_FROZEN)
    return builder.at(until).op("nemesis", INFO, "stall-redis", fault=2, phase="heal", kind="pause")


@pytest.mark.parametrize(("lost", "verdict"), [(7.9, Verdict.NOT_ASKED), (8.1, Verdict.INVALID)])
def test_a_frozen_broker_before_the_loss_gives_a_task_its_time(lost: float, verdict: Verdict) -> None:
    found = judged(emptied(frozen(built(), until=3), at=lost))
    assert (found["delivery"].verdict, found["recovery"].verdict) == (verdict, verdict)


@pytest.mark.parametrize(("again", "verdict"), [(16.9, Verdict.VALID), (17.1, Verdict.INVALID)])
def test_a_task_of_a_killed_worker_counts_from_the_heal_of_an_outage(again: float, verdict: Verdict) -> None:
    found = judged(frozen(built(), until=12).at(again).ran(2, by=12))["recovery"]
    assert found.verdict is verdict
    assert [" from the heal on" in one["why"] for one in found.counterexamples] == [True] * (again > 17)


@pytest.mark.parametrize(("spin", "verdict"), [(9.0, Verdict.NOT_ASKED), (1.0, Verdict.INVALID)])
def test_a_task_had_to_begin_before_the_loss_only_on_a_quiet_machine(spin: float, verdict: Verdict) -> None:
    found = judged(emptied(built().slow_machine(0, 4, spin=spin), at=4))
    assert (found["delivery"].verdict, found["recovery"].verdict) == (verdict, verdict)


def test_a_verdict_without_delivery_counts_the_tasks_that_ended_with_an_error() -> None:
    made = replace(MADE, survives=frozenset(), records=True)
    found = judged(built().promised(made).recorded(1).recorded(2, status="error").enqueued(3).recorded(3))
    assert unasked(found) == "delivery not asked: 1 lost, 1 errored"
