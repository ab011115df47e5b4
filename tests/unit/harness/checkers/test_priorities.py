from __future__ import annotations

import pytest

from harness.checkers import priorities
from harness.checkers.base import Verdict
from harness.checkers.priorities import SLACK
from tests.support.histories import INFO, INVOKE, OK, HistoryBuilder

LOW = 10_000


def submit(builder: HistoryBuilder, priority: str, *tasks: int) -> HistoryBuilder:
    for task in tasks:
        builder.op("client", INVOKE, "enqueue", task=task, priority=priority)
        builder.op("client", OK, "enqueue", task=task, activity=f"a{task}")
    return builder


def overtaken_by(number: int, *, peers: int = 0) -> HistoryBuilder:
    """A low task that waits while so many high ones, and so many low ones, begin."""
    lows = range(LOW, LOW + peers + 1)
    builder = submit(submit(HistoryBuilder(), "high", *range(number)), "low", *lows)
    return builder.ran(*range(number), by=12).ran(*lows, by=12)


def test_a_low_task_that_had_its_turn_is_valid() -> None:
    result = priorities()(overtaken_by(7 + SLACK).history)
    assert result.verdict is Verdict.VALID
    assert (result.figures["judged_waits"], result.figures["starved"]) == (1, 0)
    assert result.figures["wait_low_max"] == pytest.approx(0.143)


def test_a_low_task_that_more_passed_than_its_turn_allows_is_invalid_and_named() -> None:
    result = priorities()(overtaken_by(7 + SLACK + 1).history)
    assert result.verdict is Verdict.INVALID
    assert [(one["kind"], one["task"]) for one in result.counterexamples] == [("starved", LOW)]


def test_each_earlier_task_of_its_priority_allows_seven_more_to_pass() -> None:
    builder = submit(submit(HistoryBuilder(), "high", *range(7 + SLACK + 8)), "low", LOW, LOW + 1)
    builder.ran(*range(SLACK + 7), by=12).ran(LOW, by=12).ran(*range(SLACK + 7, SLACK + 14), by=12)
    assert priorities()(builder.ran(LOW + 1, by=12).history).verdict is Verdict.VALID


def test_a_low_task_that_never_began_starved_if_enough_others_did() -> None:
    builder = submit(submit(HistoryBuilder(), "low", LOW), "high", *range(200)).ran(*range(200), by=12)
    assert priorities()(builder.history).verdict is Verdict.INVALID


def test_what_began_before_a_task_was_acknowledged_did_not_pass_it() -> None:
    builder = submit(HistoryBuilder(), "high", *range(200)).ran(*range(200), by=12)
    result = priorities()(submit(builder, "low", LOW).ran(LOW, by=12).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["wait_low_max"] == pytest.approx(0.001)
    assert result.figures["wait_high_max"] == pytest.approx(0.399)


@pytest.mark.parametrize("healed", [True, False])
def test_a_wait_in_which_a_fault_struck_is_not_judged(healed: bool) -> None:
    builder = HistoryBuilder().killed(99) if healed else HistoryBuilder()
    submit(submit(builder, "high", *range(200)), "low", LOW)
    if healed:
        builder.op("nemesis", INFO, "kill-worker", fault=1, phase="heal", pids=[99])
    else:
        builder.killed(99)
    result = priorities()(builder.ran(*range(200), by=12).ran(LOW, by=12).history)
    assert (result.verdict, result.figures["judged_waits"]) == (Verdict.UNKNOWN, 0)


def test_without_priorities_the_verdict_is_unknown_unless_they_are_optional() -> None:
    history = HistoryBuilder().enqueued(1).ran(1, by=12).history
    assert priorities()(history).verdict is Verdict.UNKNOWN
    assert priorities(minimum=0)(history).verdict is Verdict.VALID


def test_a_high_task_that_too_many_low_ones_passed_is_invalid_and_named() -> None:
    for number, verdict in ((SLACK + 1, Verdict.VALID), (SLACK + 2, Verdict.INVALID)):
        lows = range(LOW, LOW + number)
        builder = submit(submit(HistoryBuilder(), "low", *lows), "high", 1).ran(*lows, by=12).ran(1, by=12)
        result = priorities()(builder.history)
        assert result.verdict is verdict
        inverted = [("inverted", 1)] if verdict is Verdict.INVALID else []
        assert [(one["kind"], one["task"]) for one in result.counterexamples] == inverted
        assert (result.figures["inverted"], result.figures["starved"]) == (len(inverted), 0)


def test_a_task_with_a_lock_key_waits_for_its_lock_and_is_not_judged() -> None:
    builder = HistoryBuilder().locked("k", LOW)
    submit(submit(builder, "high", *range(200)), "low", LOW)
    assert priorities()(builder.ran(*range(200), by=12).ran(LOW, by=12).history).verdict is Verdict.UNKNOWN
    parked = submit(HistoryBuilder(), "high", *range(200)).op(
        "client", INVOKE, "enqueue", task=LOW, priority="low", lock="k"
    )
    parked.op("client", OK, "enqueue", task=LOW, activity="a").ran(*range(200), by=12)
    assert priorities()(parked.history).verdict is Verdict.UNKNOWN


def test_a_priority_between_the_first_and_the_last_has_no_bound() -> None:
    builder = submit(submit(submit(HistoryBuilder(), "high", *range(200)), "middle", 500), "low", LOW)
    builder.ran(*range(60), by=12).ran(LOW, by=12).ran(*range(60, 200), by=12).ran(500, by=12)
    result = priorities(("high", "middle", "low"))(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.figures["judged_waits"] == 1


@pytest.mark.parametrize("heals_after", [0.1, 9.0])
def test_a_fault_that_strikes_in_a_wait_spares_it_however_long_it_lasts(heals_after: float) -> None:
    builder = submit(submit(HistoryBuilder(), "high", *range(200)), "low", LOW).injected(
        "pause-redis", seconds=heals_after
    )
    result = priorities()(builder.ran(*range(200), by=12).ran(LOW, by=12).history)
    assert (result.verdict, result.figures["judged_waits"]) == (Verdict.UNKNOWN, 0)


def test_a_fault_at_the_moment_of_the_first_run_excuses_the_wait() -> None:
    for late, judged in ((0, 0), (1, 1)):
        builder = submit(HistoryBuilder(), "low", LOW)
        began = builder.now
        builder.ran(LOW, by=12)
        builder.now = began + late
        assert priorities(minimum=0)(builder.killed(12).history).figures["judged_waits"] == judged


@pytest.mark.parametrize(("peers", "allowed"), [(6, SLACK + 1), (7, SLACK + 2), (14, SLACK + 3)])
def test_seven_high_tasks_that_begin_let_one_low_one_more_pass_the_next(peers: int, allowed: int) -> None:
    for number, inverted in ((allowed, 0), (allowed + 1, 1)):
        lows = range(LOW, LOW + number)
        builder = submit(submit(HistoryBuilder(), "low", *lows), "high", *range(peers + 1)).ran(
            *range(peers), by=12
        )
        assert (
            priorities()(builder.ran(*lows, by=12).ran(peers, by=12).history).figures["inverted"] == inverted
        )


def test_a_task_of_an_unlisted_priority_passes_like_any_other() -> None:
    builder = submit(submit(HistoryBuilder(), "low", LOW), "middle", *range(7 + SLACK + 1)).ran(
        *range(7 + SLACK + 1), by=12
    )
    assert priorities()(builder.ran(LOW, by=12).history).verdict is Verdict.INVALID


def test_a_task_without_a_priority_does_not_end_the_check() -> None:
    builder = submit(submit(HistoryBuilder().enqueued(5000), "high", *range(7 + SLACK + 1)), "low", LOW)
    result = priorities()(builder.ran(*range(7 + SLACK + 1), by=12).ran(LOW, by=12).history)
    assert result.figures["starved"] == 1


@pytest.mark.parametrize("late", [0, 1])
def test_a_task_that_never_began_waits_until_the_last_operation(late: int) -> None:
    builder = submit(submit(HistoryBuilder(), "low", LOW), "high", *range(7 + SLACK + late))
    result = priorities()(builder.ran(*range(7 + SLACK + late), by=12).history)
    assert (result.figures["judged_waits"], result.figures["starved"]) == (1, late)


@pytest.mark.parametrize("late", [0, 1])
def test_of_three_priorities_the_last_is_the_lowest(late: int) -> None:
    builder = submit(submit(HistoryBuilder(), "low", LOW), "high", *range(7 + SLACK + late))
    result = priorities(("high", "middle", "low"))(builder.ran(*range(7 + SLACK + late), by=12).history)
    assert (result.figures["starved"], result.figures["inverted"]) == (late, 0)
    assert [one["kind"] for one in result.counterexamples] == ["starved"] * late


def test_a_task_that_began_before_its_acknowledgement_arrived_has_not_waited() -> None:
    builder = HistoryBuilder().op("client", INVOKE, "enqueue", task=LOW, priority="low").ran(LOW, by=12)
    figures = priorities()(builder.op("client", OK, "enqueue", task=LOW, activity="a").history).figures
    assert figures["wait_low_max"] == 0.0


def test_the_order_of_requests_that_overlap_does_not_matter_only_that_of_their_answers_does() -> None:
    """Many clients submit at once: a task counts as waiting once the system has acknowledged it."""
    highs, builder = range(200), HistoryBuilder()
    for task in (LOW, *highs):
        builder.op("client", INVOKE, "enqueue", task=task, priority="low" if task == LOW else "high")
    for task in highs:
        builder.op("client", OK, "enqueue", task=task, activity=f"a{task}")
    builder.ran(*highs, by=12).op("client", OK, "enqueue", task=LOW, activity=f"a{LOW}").ran(LOW, by=12)
    result = priorities()(builder.history)
    assert (result.verdict, result.figures["judged_waits"]) == (Verdict.VALID, 1)
    assert result.figures["wait_low_max"] == pytest.approx(0.001)
