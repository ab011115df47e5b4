from __future__ import annotations

from harness.checkers import effects
from harness.checkers.base import Verdict, check_safe
from tests.support.histories import FAIL, OK, HistoryBuilder


def complete(builder: HistoryBuilder, task: int, *, fence: int = 1) -> HistoryBuilder:
    return builder.recorded(task, fence=fence).logged(task, ("complete", fence, 1))


def test_an_effect_that_was_taken_once_under_the_completing_fence_is_valid() -> None:
    result = effects()(complete(HistoryBuilder().effect(1, by=12), 1).history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"effects": 1, "superseded": 0, "fenced_off": 0, "not_once": 0}


def test_the_effect_of_a_killed_attempt_is_superseded_and_no_breach() -> None:
    builder = HistoryBuilder().effect(1, by=12, fence=1).killed(12).effect(1, by=13, fence=2)
    result = effects()(complete(builder, 1, fence=2).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["superseded"] == 1


def test_a_late_effect_that_the_outside_store_refused_is_no_breach() -> None:
    builder = HistoryBuilder().effect(1, by=13, fence=2).effect(1, by=12, fence=1, outcome=FAIL)
    result = effects()(complete(builder, 1, fence=2).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["fenced_off"] == 1


def test_an_effect_that_was_taken_twice_under_one_key_is_invalid_and_named() -> None:
    result = effects()(complete(HistoryBuilder().effect(7, by=12).effect(7, by=13), 7).history)
    assert result.verdict is Verdict.INVALID
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [("twice", 7)]


def test_a_winner_whose_effect_was_refused_is_invalid() -> None:
    builder = HistoryBuilder().effect(1, by=12, fence=9).killed(12).effect(1, by=13, fence=2, outcome=FAIL)
    result = effects()(complete(builder, 1, fence=2).history)
    assert result.verdict is Verdict.INVALID
    assert [one["kind"] for one in result.counterexamples] == ["refused", "overwritten"]


def test_a_completed_activity_without_its_effect_is_invalid() -> None:
    builder = complete(HistoryBuilder().effect(1, by=12), 1)
    without = effects()(complete(builder, 2).history)
    assert without.verdict is Verdict.INVALID
    assert [(one["kind"], one["task"]) for one in without.counterexamples] == [("missing", 2)]
    under_another = effects()(complete(HistoryBuilder().effect(3, by=12, fence=1), 3, fence=2).history)
    assert [(one["kind"], one["task"]) for one in under_another.counterexamples] == [("missing", 3)]


def test_an_effect_after_the_completion_of_a_lower_fence_stands_and_is_invalid() -> None:
    builder = HistoryBuilder().effect(1, by=12, fence=1).effect(1, by=13, fence=2)
    result = effects()(complete(builder, 1, fence=1).history)
    assert [one["kind"] for one in result.counterexamples] == ["overwritten"]
    assert result.figures["superseded"] == 0


def test_an_activity_that_did_not_complete_owes_no_effect() -> None:
    builder = HistoryBuilder().effect(1, by=12).recorded(2, status="error").recorded(1, status="canceled")
    assert effects()(builder.history).verdict is Verdict.VALID
    twice = HistoryBuilder().effect(1, by=12, fence=1).effect(1, by=13, fence=2).recorded(1, status="error")
    assert effects()(twice.history).figures["superseded"] == 1


def test_without_effects_the_verdict_is_unknown_unless_they_are_optional() -> None:
    history = complete(HistoryBuilder().ran(1, by=12), 1).history
    assert effects()(history).verdict is Verdict.UNKNOWN
    assert effects(minimum=0)(history).verdict is Verdict.VALID


def test_an_effect_without_a_fence_cannot_be_judged() -> None:
    builder = HistoryBuilder().op("worker-12", OK, "effect", task=1, activity="a1")
    assert check_safe(effects(), builder.history).verdict is Verdict.UNKNOWN


def test_of_two_winners_the_effect_of_the_last_one_stands() -> None:
    builder = HistoryBuilder().effect(1, by=12, fence=1).effect(1, by=13, fence=2)
    builder.logged(1, ("complete", 1, 1), ("complete", 2, 1)).recorded(1, fence=2)
    assert effects()(builder.history).verdict is Verdict.VALID, "two winners are the matter of fencing"


def test_every_refused_attempt_counts_and_a_winner_with_only_a_refusal_is_named() -> None:
    builder = HistoryBuilder().effect(1, by=12, fence=1, outcome=FAIL).effect(1, by=13, fence=2, outcome=FAIL)
    result = effects()(complete(builder, 1, fence=2).history)
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [("refused", 1)]
    assert result.figures["fenced_off"] == 2


def test_missing_effects_are_listed_in_the_order_of_their_tasks() -> None:
    builder = complete(complete(complete(HistoryBuilder().effect(1, by=12), 1), 10), 2)
    assert [one["task"] for one in effects()(builder.history).counterexamples] == [2, 10]


def test_the_task_of_an_effect_that_was_overwritten_is_named() -> None:
    builder = HistoryBuilder().effect(4, by=12, fence=1).effect(4, by=13, fence=2)
    result = effects()(complete(builder, 4, fence=1).history)
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [("overwritten", 4)]
