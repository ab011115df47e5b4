"""The checkers of the evidence itself: faults injected, the last reading of the queue, readable files."""

from __future__ import annotations

import pytest

from harness.checkers import FEATURES, evidence, faults_injected, nothing_left, reads, standard
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history import History, InjectionKind
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder, completed


def test_enough_faults_are_valid_and_counted() -> None:
    result = faults_injected(2, minimum_kills=3)(HistoryBuilder().killed(1, 12, 13).sigterm(14).history)
    assert result.verdict is Verdict.VALID
    assert (result.figures["faults"], result.figures["kills"]) == (2, 3)


def test_too_few_faults_or_kills_are_unknown() -> None:
    history = HistoryBuilder().killed(12).history
    assert faults_injected(2)(history).verdict is Verdict.UNKNOWN
    assert faults_injected(1, minimum_kills=2)(history).verdict is Verdict.UNKNOWN
    assert faults_injected()(HistoryBuilder().history).verdict is Verdict.UNKNOWN


def test_heals_failed_faults_and_repeated_lines_do_not_count_as_faults() -> None:
    builder = (
        HistoryBuilder()
        .injected("pause", phase="heal")
        .injected("kill-worker", InjectionKind.KILL, type=FAIL, pids=[3])
        .killed(12)
    )
    builder.op("nemesis", INFO, "kill-worker", fault=builder.faults, phase="inject", kind="kill", pids=[12])
    builder.injected("kill-worker", InjectionKind.KILL, type=INVOKE, pids=[4])
    builder.op("nemesis", FAIL, "kill-worker", fault=builder.faults, phase="inject", error="no such process")
    result = faults_injected(1)(builder.history)
    assert (result.figures["faults"], result.figures["kills"]) == (1, 1)


def test_a_fault_that_leaves_its_processes_alive_is_no_kill() -> None:
    builder = (
        HistoryBuilder().sigterm(12).injected("pause-worker", pids=[13]).injected("lose-reply", pids=[14])
    )
    assert faults_injected()(builder.history).figures["kills"] == 0


def test_an_empty_queue_is_valid_and_its_dead_letters_are_counted() -> None:
    result = nothing_left()(HistoryBuilder().queue(dead=2, known=2).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["dead"] == 2
    assert result.summary == "the queue is empty; 2 dead letters"


def test_a_queue_that_still_holds_tasks_is_invalid_with_its_numbers() -> None:
    result = nothing_left()(HistoryBuilder().queue(ready=3, scheduled=1, known=4).history)
    assert result.verdict is Verdict.INVALID
    assert result.counterexamples == ({"kind": "left", "ready": 3, "scheduled": 1},)
    assert nothing_left()(HistoryBuilder().queue(leased=1, known=1).history).verdict is Verdict.INVALID


def test_the_last_reading_of_the_queue_counts() -> None:
    assert nothing_left()(HistoryBuilder().queue(ready=3, known=3).queue().history).verdict is Verdict.VALID


def test_a_task_that_the_queue_knows_in_no_state_is_invalid_with_the_number() -> None:
    result = nothing_left()(HistoryBuilder().queue(dead=2, known=5).history)
    assert result.verdict is Verdict.INVALID
    assert result.counterexamples == ({"kind": "left", "unaccounted": 3},)
    assert result.figures["unaccounted"] == 3


def test_a_state_that_holds_more_than_the_queue_knows_is_invalid_too() -> None:
    result = nothing_left()(HistoryBuilder().queue(dead=2, known=1).history)
    assert result.verdict is Verdict.INVALID
    assert result.figures["unaccounted"] == -1


def test_a_queue_that_lists_its_tasks_is_compared_by_their_states() -> None:
    result = nothing_left()(HistoryBuilder().queue(known=["a1"]).history)
    assert result.verdict is Verdict.VALID
    assert result.figures["unaccounted"] is None


def test_tasks_that_are_parked_behind_others_are_left_over_and_accounted_for() -> None:
    result = nothing_left()(HistoryBuilder().queue(parked=2, known=2).history)
    assert result.verdict is Verdict.INVALID
    assert result.counterexamples == ({"kind": "left", "parked": 2},)


def test_a_queue_that_was_not_asked_is_unknown() -> None:
    assert nothing_left()(HistoryBuilder().killed(12).history).verdict is Verdict.UNKNOWN


def test_a_history_without_problems_is_readable() -> None:
    assert evidence()(HistoryBuilder().enqueued(1).history).verdict is Verdict.VALID


def test_the_final_output_of_a_killed_worker_may_be_cut_off() -> None:
    builder = HistoryBuilder().killed(12)
    builder.problems.append("worker-12.jsonl:9 is cut off: its writer ended while writing it")
    result = evidence()(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.figures["cut_off"] == 1


def test_any_other_problem_makes_the_evidence_unknown() -> None:
    for problem in (
        "worker-13.jsonl:9 is cut off: its writer ended while writing it",
        "client.jsonl:9 is cut off: its writer ended while writing it",
        "worker-12.jsonl:4 is not JSON (Expecting value)",
    ):
        builder = HistoryBuilder().killed(12)
        builder.problems.append(problem)
        result = evidence()(builder.history)
        assert result.verdict is Verdict.UNKNOWN
        assert result.counterexamples[0]["problem"] == problem


def test_a_run_that_broke_down_is_unknown_with_the_reason() -> None:
    result = evidence()(HistoryBuilder().enqueued(1).broke_down("The pool has no handlers.").history)
    assert result.verdict is Verdict.UNKNOWN
    assert result.figures["problems"] == 1
    assert result.counterexamples == ({"kind": "breakdown", "problem": "The pool has no handlers."},)
    assert "the first: The pool has no handlers." in result.summary


def test_an_operation_with_an_unknown_name_is_reported_with_its_name_and_number() -> None:
    builder = HistoryBuilder().enqueued(1).op("worker-12", INVOKE, "runs", task=1)
    builder.op("worker-12", OK, "runs", task=1).op("worker-13", INFO, "refund").ran(1, by=12)
    result = evidence()(builder.history)
    assert result.verdict is Verdict.UNKNOWN
    found = {one["f"]: (one["kind"], one["count"], one["writers"]) for one in result.counterexamples}
    assert found == {
        "runs": ("unknown operation", 2, ["worker-12"]),
        "refund": ("unknown operation", 1, ["worker-13"]),
    }
    assert (result.figures["problems"], result.figures["unknown_names"]) == (2, 2)
    assert (
        result.summary == "2 problems with the run or its history; the first: 2 operations of worker-12 "
        "have the unknown f 'runs', which no checker reads; did you mean 'run'? "
        "Correct the name, or declare it with harness.checkers.reads."
    )


def test_the_nemesis_may_use_any_name_and_no_other_process() -> None:
    assert evidence()(HistoryBuilder().injected("cut-the-cable").history).verdict is Verdict.VALID
    other = HistoryBuilder().op("client", INFO, "cut-the-cable", phase="inject", kind="pause")
    assert evidence()(other.history).verdict is Verdict.UNKNOWN


def test_every_operation_of_the_harness_is_known() -> None:
    builder = completed(HistoryBuilder().killed(11).sigterm(12).enqueued(1), 1).effect(1, by=12)
    builder.reported(1, 50).queue().exited().op("worker-12", INFO, "hello", pid=12)
    assert evidence()(builder.history).verdict is Verdict.VALID


def test_a_name_that_a_checker_of_the_run_declares_is_known() -> None:
    @reads("refund", "booking")
    def booked_once(history: History) -> CheckResult:
        found = [*history.where("refund")]
        return CheckResult(verdict=Verdict.VALID, summary=f"{len(found)} refunds")

    history = HistoryBuilder().enqueued(1).op("worker-12", INFO, "refund", task=1).history
    assert check_all({"evidence": evidence()}, history)["evidence"].verdict is Verdict.UNKNOWN
    results = check_all({"evidence": evidence(), "shop": booked_once}, history)
    assert {name: one.verdict for name, one in results.items()} == dict.fromkeys(results, Verdict.VALID)
    assert results["shop"].summary == "1 refunds"


def test_the_standard_checkers_agree_that_a_good_run_is_good() -> None:
    builder = completed(HistoryBuilder().enqueued(1, 2), 1).began(2, by=12).killed(12).ran(2, by=13, fence=2)
    builder.recorded(2, fence=2).logged(
        2, ("queued", 0, 0), ("running", 1, 0), ("running", 2, 0), ("complete", 2, 1)
    )
    results = check_all(standard(recovery_p99=2.0, concurrency=4), builder.queue().exited().history)
    verdicts = dict.fromkeys(results, Verdict.VALID) | {"steady": Verdict.NOT_ASKED}
    assert {name: result.verdict for name, result in results.items()} == verdicts
    assert [*results] == [
        *(
            "evidence",
            "faults",
            "delivery",
            "duplicates",
            "transitions",
            "fencing",
            "protocol",
            "queue",
            "exits",
            "witnesses",
            "causality",
            "effects",
            "progress",
            "locks",
            "priorities",
            "availability",
            "steady",
            "recovery",
        ),
    ]


def test_the_standard_checkers_are_unknown_for_an_empty_history() -> None:
    results = check_all(standard(), HistoryBuilder().history)
    assert Verdict.combine(result.verdict for result in results.values()) is Verdict.UNKNOWN
    may_be_unused = {"evidence", *FEATURES}
    assert {r.verdict for name, r in results.items() if name not in may_be_unused} == {Verdict.UNKNOWN}


def test_what_a_workload_uses_has_to_show_in_its_history() -> None:
    unused, used = (
        check_all(standard(), HistoryBuilder().history),
        check_all(standard(uses=FEATURES), HistoryBuilder().history),
    )
    assert {unused[name].verdict for name in FEATURES} == {Verdict.VALID}
    assert {used[name].verdict for name in FEATURES} == {Verdict.UNKNOWN}
    with pytest.raises(ValueError, match="no feature 'lock'"):
        standard(uses=("lock",))


def test_recovery_can_be_left_out_of_the_standard_checkers() -> None:
    assert "recovery" not in standard(recovery_p99=None)


def test_one_fault_is_enough_where_nothing_else_is_asked_for_and_it_need_not_kill() -> None:
    result = faults_injected()(HistoryBuilder().sigterm(12).history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"faults": 1, "kills": 0, "minimum_faults": 1, "minimum_kills": 0}


def test_faults_without_a_number_are_distinguished_by_time() -> None:
    builder = (
        HistoryBuilder()
        .op("nemesis", INFO, "pause", phase="inject", kind="pause")
        .op("nemesis", INFO, "pause", phase="inject", kind="pause")
    )
    assert faults_injected()(builder.history).figures["faults"] == 2


def test_a_queue_that_names_its_dead_letters_is_counted_and_shows_nothing_left() -> None:
    result = nothing_left()(HistoryBuilder().queue(dead=["a1", "a2"], known=2).history)
    assert (result.verdict, result.figures["dead"], result.counterexamples) == (Verdict.VALID, 2, ())


def test_only_excused_problems_count_as_cut_off() -> None:
    builder = HistoryBuilder().killed(12)
    cut, bad = "worker-12.jsonl:9 is cut off: its writer ended while writing it", "client.jsonl:1 is not JSON"
    builder.problems += [cut, bad]
    result = evidence()(builder.history)
    assert result.figures == {"operations": 1, "problems": 1, "cut_off": 1}
    assert result.counterexamples == ({"kind": "unreadable", "problem": bad},)


def test_the_standard_checkers_hold_the_bounds_that_they_promise() -> None:
    builder = HistoryBuilder().began(9, by=12).killed(12).ran(9, by=13, fence=2)
    builder.ran(*range(5), by=20).killed(20).ran(*range(5), by=21, fence=2)
    plain = check_all(standard(), builder.history)
    assert plain["recovery"].figures["bound"] == 2.0
    assert (plain["duplicates"].figures["budget"], plain["duplicates"].verdict) == (4, Verdict.INVALID)
    assert plain["faults"].figures == {"faults": 2, "kills": 2, "minimum_faults": 1, "minimum_kills": 0}
    strict = check_all(standard(concurrency=5, minimum_faults=3, minimum_kills=2), builder.history)
    assert strict["duplicates"].figures["budget"] == 5
    assert strict["faults"].figures == {"faults": 2, "kills": 2, "minimum_faults": 3, "minimum_kills": 2}
