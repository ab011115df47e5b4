from __future__ import annotations

import pytest

from harness.checkers import account, delivery
from harness.checkers.base import CheckResult, Verdict, check_safe
from harness.history import OperationType
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder


def members(result: CheckResult, kind: str) -> list[int]:
    return [one["task"] for one in result.counterexamples if one["kind"] == kind]


def test_tasks_that_ran_and_are_complete_are_valid() -> None:
    builder = HistoryBuilder().enqueued(1, 2).ran(1, 2, by=12).recorded(1, 2)
    result = delivery()(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.summary == "2 acknowledged, 0 lost"
    assert result.counterexamples == ()
    assert result.figures["completed"] == 2


def test_an_acknowledged_task_without_a_record_is_lost() -> None:
    result = delivery()(HistoryBuilder().enqueued(1, 2).ran(1, 2, by=12).recorded(1).history)
    assert result.verdict is Verdict.INVALID
    assert members(result, "lost") == [2]
    assert "no record" in result.counterexamples[0]["why"]


@pytest.mark.parametrize("status", ["running", "queued"])
def test_an_acknowledged_task_that_is_still_open_at_the_end_is_stuck(status: str) -> None:
    result = delivery()(
        HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).recorded(2, status=status).history
    )
    assert result.verdict is Verdict.INVALID
    assert members(result, "stuck") == [2]
    assert (result.figures["lost"], result.figures["stuck"]) == (0, 1)
    assert result.summary == "2 acknowledged, 0 lost, 1 stuck"
    assert status in result.counterexamples[0]["why"]


def test_a_complete_record_without_a_handler_that_finished_is_lost() -> None:
    result = delivery()(HistoryBuilder().enqueued(1, 2).ran(1, by=12).began(2, by=12).recorded(1, 2).history)
    assert result.verdict is Verdict.INVALID
    assert members(result, "lost") == [2]
    assert result.counterexamples[0]["why"] == "recorded as complete, although no handler finished"


def test_a_record_of_another_activity_does_not_answer_for_the_acknowledged_one() -> None:
    result = delivery()(HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1, activity="a99").history)
    assert members(result, "lost") == [1]
    assert "another activity" in result.counterexamples[0]["why"]


def test_every_acknowledged_activity_of_a_task_must_reach_its_end() -> None:
    builder = (
        HistoryBuilder()
        .enqueued(1)
        .op("client", OK, "enqueue", task=1, activity="b1")
        .ran(1, by=12)
        .recorded(1)
    )
    assert members(delivery()(builder.history), "lost") == [1]
    assert delivery()(builder.recorded(1, activity="b1").history).verdict is Verdict.VALID


def test_an_acknowledgement_without_an_activity_is_answered_by_any_record() -> None:
    builder = HistoryBuilder().op("client", INVOKE, "enqueue", task=1).op("client", OK, "enqueue", task=1)
    assert delivery()(builder.ran(1, by=12).recorded(1).history).verdict is Verdict.VALID


def test_the_counterexample_has_the_events_of_the_task() -> None:
    builder = HistoryBuilder().at(0).op("worker-12", INFO, "hello", pid=12)
    builder.at(1.202).enqueued(7).at(1.24).began(7, by=12).at(1.3).killed(12).at(9).recorded(
        7, status="running"
    )
    (found,) = delivery()(builder.history).counterexamples
    assert found == {
        "kind": "stuck",
        "task": 7,
        "activity": "a7",
        "why": "acknowledged, but its record is still running",
        "operations": (
            "acknowledged at +1.203 s; started by worker-12 at +1.240 s; worker-12 hit by kill-worker at +1.300 s; "
            "never again; record: running"
        ),
    }


def test_a_long_counterexample_loses_its_middle_and_not_its_end() -> None:
    builder = HistoryBuilder().enqueued(1)
    for fence in range(50):
        builder.began(1, by=100 + fence, fence=fence)
    (found,) = delivery()(builder.recorded(1, status="running").history).counterexamples
    assert "acknowledged" in found["operations"]
    assert "... 35 more ..." in found["operations"]
    assert "worker-149" in found["operations"]


def test_a_task_that_was_never_submitted_is_unexpected_when_it_starts() -> None:
    result = delivery()(HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).began(9, by=12).history)
    assert result.verdict is Verdict.INVALID
    assert members(result, "unexpected") == [9]


def test_a_task_that_was_never_submitted_is_unexpected_when_it_is_recorded() -> None:
    result = delivery()(HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1, 9).history)
    assert members(result, "unexpected") == [9]


def test_a_certainly_refused_task_must_not_appear() -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).enqueued(2, outcome=FAIL)
    assert delivery()(builder.history).verdict is Verdict.VALID
    result = delivery()(builder.recorded(2).history)
    assert result.verdict is Verdict.INVALID
    assert members(result, "unexpected") == [2]
    assert "refused" in result.counterexamples[0]["why"]


@pytest.mark.parametrize("outcome", [INFO, None])
def test_an_unknown_task_that_vanished_is_not_lost(outcome: None) -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).enqueued(2, outcome=outcome)
    result = delivery()(builder.history)
    assert result.verdict is Verdict.VALID
    assert members(result, "unknown") == [2]
    assert (result.figures["unknown"], result.figures["recovered"]) == (1, 0)


def test_an_unknown_task_that_completed_is_recovered() -> None:
    builder = HistoryBuilder().enqueued(1).enqueued(2, outcome=INFO).ran(1, 2, by=12).recorded(1, 2)
    result = delivery()(builder.history)
    assert result.verdict is Verdict.VALID
    assert members(result, "recovered") == [2]
    assert result.figures["acknowledged"] == 1


def test_an_unknown_task_that_is_complete_without_a_handler_is_not_recovered() -> None:
    builder = HistoryBuilder().enqueued(1).enqueued(2, outcome=INFO).ran(1, by=12).recorded(1, 2)
    assert account(builder.history).recovered == frozenset()


def test_a_submission_that_failed_and_was_then_acknowledged_counts_as_acknowledged() -> None:
    found = account(HistoryBuilder().enqueued(1, outcome=FAIL).enqueued(1).ran(1, by=12).recorded(1).history)
    assert (found.acknowledged, found.refused, found.unexpected) == (frozenset({1}), frozenset(), {})


def test_a_submission_without_outcome_beside_a_refused_one_leaves_the_task_unknown() -> None:
    found = account(HistoryBuilder().enqueued(1, outcome=None).enqueued(1, outcome=FAIL).history)
    assert (found.unknown, found.refused) == (frozenset({1}), frozenset())


@pytest.mark.parametrize("status", ["error", "canceled"])
def test_a_task_that_ended_badly_is_not_lost_but_invalid_unless_allowed(status: str) -> None:
    builder = HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).recorded(2, status=status)
    strict, lenient = delivery()(builder.history), delivery(allow_errors=True)(builder.history)
    assert strict.verdict is Verdict.INVALID
    assert members(strict, "ended badly") == [2]
    assert strict.figures["lost"] == 0
    assert lenient.verdict is Verdict.VALID
    assert f"1 {'errored' if status == 'error' else 'canceled'}" in lenient.summary


def test_a_task_still_in_the_queue_is_pending_where_that_is_allowed() -> None:
    builder = (
        HistoryBuilder()
        .enqueued(1, 2)
        .ran(1, by=12)
        .recorded(1)
        .recorded(2, status="queued")
        .queue(ready=1, known=1)
    )
    assert delivery()(builder.history).verdict is Verdict.INVALID
    result = delivery(allow_queued=True)(builder.history)
    assert result.verdict is Verdict.VALID
    assert members(result, "pending") == [2]
    assert (result.figures["pending"], result.figures["lost"]) == (1, 0)


def test_a_queued_record_that_the_queue_has_forgotten_is_stuck_all_the_same() -> None:
    builder = HistoryBuilder().enqueued(1, 2).recorded(1, 2, status="queued").queue(ready=1, known=["a1"])
    result = delivery(allow_queued=True)(builder.history)
    assert members(result, "stuck") == [2]
    assert members(result, "pending") == [1]


def test_a_queue_that_knows_too_few_tasks_excuses_none() -> None:
    builder = HistoryBuilder().enqueued(1, 2).recorded(1, 2, status="queued").queue(ready=1, known=1)
    assert members(delivery(allow_queued=True)(builder.history), "stuck") == [1, 2]


def test_a_running_record_is_stuck_even_where_queued_ones_are_allowed() -> None:
    builder = HistoryBuilder().enqueued(1).recorded(1, status="running").queue(known=5)
    assert delivery(allow_queued=True)(builder.history).verdict is Verdict.INVALID


def test_queued_tasks_without_the_word_of_the_queue_are_unknown() -> None:
    result = delivery(allow_queued=True)(HistoryBuilder().enqueued(1).recorded(1, status="queued").history)
    assert result.verdict is Verdict.UNKNOWN
    assert members(result, "undecided") == [1]


def test_a_history_without_submissions_is_unknown() -> None:
    assert delivery()(HistoryBuilder().history).verdict is Verdict.UNKNOWN
    assert delivery()(HistoryBuilder().ran(1, by=12).recorded(1).history).verdict is Verdict.UNKNOWN


def test_a_history_without_records_is_unknown() -> None:
    assert delivery()(HistoryBuilder().enqueued(1).ran(1, by=12).history).verdict is Verdict.UNKNOWN


def test_a_task_executed_twice_is_duplicated_but_delivered() -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).ran(1, by=13, fence=2).recorded(1, fence=2)
    assert account(builder.history).duplicated == frozenset({1})
    assert delivery()(builder.history).verdict is Verdict.VALID


def test_an_operation_without_a_task_number_makes_the_verdict_unknown() -> None:
    builder = HistoryBuilder().enqueued(1).op("worker-12", OK, "run", task="one")
    result = check_safe(delivery(), builder.history)
    assert result.verdict is Verdict.UNKNOWN
    assert "worker-12 has 'one' where the number 'task' belongs" in result.summary


def test_ids_that_were_recorded_as_no_text_are_the_same_ids() -> None:
    builder = (
        HistoryBuilder()
        .op("client", INVOKE, "enqueue", task=1)
        .op("client", OK, "enqueue", task=1, activity=7)
    )
    assert delivery()(builder.ran(1, by=12).recorded(1, activity="7").history).verdict is Verdict.VALID
    assert members(delivery()(builder.recorded(1, activity="8").history), "lost") == []
    other = (
        HistoryBuilder()
        .op("client", OK, "enqueue", task=1, activity=7)
        .ran(1, by=12)
        .recorded(1, activity="8")
    )
    assert members(delivery()(other.history), "lost") == [1]


def test_a_queued_task_is_stuck_to_an_account_that_is_not_asked_to_allow_it() -> None:
    found = account(HistoryBuilder().enqueued(1).recorded(1, status="queued").queue(known=["a1"]).history)
    assert (set(found.stuck), found.pending) == ({1}, frozenset())


def test_an_unknown_outcome_alone_makes_a_task_attempted_and_unknown() -> None:
    found = account(HistoryBuilder().op("client", INFO, "enqueue", task=4).history)
    assert (found.attempted, found.unknown) == (frozenset({4}), frozenset({4}))


def test_a_task_that_was_refused_twice_is_refused() -> None:
    found = account(HistoryBuilder().enqueued(1, outcome=FAIL).enqueued(1, outcome=FAIL).history)
    assert (found.unknown, found.refused) == (frozenset(), frozenset({1}))


def test_a_queue_without_a_count_leaves_its_tasks_undecided() -> None:
    builder = HistoryBuilder().enqueued(1).recorded(1, status="queued").queue(ready=1, known=None)
    assert members(delivery(allow_queued=True)(builder.history), "undecided") == [1]


def test_without_records_the_other_figures_are_still_given() -> None:
    assert delivery()(HistoryBuilder().enqueued(1, 2).ran(1, by=12).history).figures["acknowledged"] == 2


def test_a_counterexample_of_more_than_sixteen_events_shows_the_outer_eight() -> None:
    def listed(events: int) -> list[str]:
        builder = HistoryBuilder().at(5).enqueued(1)
        for number in range(events - 1):
            builder.began(1, by=100 + number, fence=number)
        (found,) = delivery()(builder.recorded(1, status="running").history).counterexamples
        return str(found["operations"]).split("; ")

    assert len(listed(16)) == 16 + 2
    assert not any("more" in part for part in listed(16))
    long = listed(20)
    assert [part.partition(" at ")[0] for part in long[6:11]] == [
        "started by worker-105",
        "started by worker-106",
        "... 4 more ...",
        "started by worker-111",
        "started by worker-112",
    ]
    assert (long[0], len(long)) == ("acknowledged at +0.001 s", 8 + 1 + 8 + 2)


def test_a_counterexample_has_each_activity_and_no_fault_after_the_run() -> None:
    builder = (
        HistoryBuilder()
        .enqueued(1)
        .op("client", OK, "enqueue", task=1, activity="b1")
        .ran(1, by=12)
        .killed(12)
    )
    (found,) = delivery()(
        builder.recorded(1).recorded(1, activity="b1", status="running").history
    ).counterexamples
    assert found["operations"] == (
        "acknowledged at +0.001 s; acknowledged at +0.002 s; started by worker-12 at +0.003 s; "
        "finished by worker-12 at +0.004 s; record: complete; record: running"
    )


def test_a_counterexample_without_a_run_and_a_record_says_so() -> None:
    (found,) = delivery()(HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).history).counterexamples
    assert found["operations"].endswith("; never started; no record")


@pytest.mark.parametrize("outcome", [FAIL, INFO])
def test_the_end_of_a_run_shows_a_task_that_was_not_submitted(
    outcome: OperationType,
) -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).ended(9, by=12, outcome=outcome)
    (unexpected,) = delivery()(builder.history).counterexamples
    assert (unexpected["kind"], unexpected["task"]) == ("unexpected", 9)


def test_a_task_that_ended_badly_has_the_error_of_its_handler() -> None:
    builder = HistoryBuilder().enqueued(1, 2).recorded(1, status="complete").ran(1, by=12)
    builder.op("worker-12", INVOKE, "run", task=2).op(
        "worker-12", FAIL, "run", task=2, error="KeyError: 'cents'"
    )
    found = delivery()(builder.recorded(2, status="error").history)
    assert found.summary.endswith("1 errored; task 2 raised KeyError: 'cents'")
    assert str(found.counterexamples[0]["why"]).endswith("its handler raised KeyError: 'cents'")
