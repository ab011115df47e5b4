"""A run that ended too early: what depends on its end is UNKNOWN, and any other breach stays INVALID."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.checkers import delivery, duplicates, fencing, shutdown, standard
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history.ending import cut_short, open_end
from harness.history.promises import Loss, Promises
from tests.support.histories import FAIL, INFO, OK, HistoryBuilder

Cut = Callable[[HistoryBuilder], HistoryBuilder]


def broken_drain(builder: HistoryBuilder) -> HistoryBuilder:
    """The drain ran into the time-out; the pools were stopped and the evidence collected afterwards."""
    builder.phase("the workload under faults").phase("the drain", FAIL).broke_down(
        "Tasks were left after 60 s."
    )
    return builder.phase("stopping the pools").phase("collecting the evidence")


def broken_workload(builder: HistoryBuilder) -> HistoryBuilder:
    builder.phase("the workload under faults", FAIL).broke_down("Not all tasks were submitted within 60 s.")
    return builder.phase("stopping the pools").phase("collecting the evidence")


def interrupted(builder: HistoryBuilder) -> HistoryBuilder:
    return builder.phase("the drain", INFO).broke_down("the run was interrupted by KeyboardInterrupt")


def killed(builder: HistoryBuilder) -> HistoryBuilder:
    """The runner got SIGKILL in the drain, so it recorded no reason."""
    return builder.phase("the workload under faults").phase("the drain", None)


def no_evidence(builder: HistoryBuilder) -> HistoryBuilder:
    builder.phase("the drain").phase("collecting the evidence", FAIL)
    return builder.broke_down("Postgres is gone.")


def older(builder: HistoryBuilder) -> HistoryBuilder:
    """A history from before the phases were recorded."""
    return builder.broke_down("Tasks were left after 60 s.")


CUTS = [broken_drain, broken_workload, interrupted, killed, no_evidence, older]
each_cut = pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)


def truth() -> HistoryBuilder:
    """A true system, seen in the middle of its work: task 1 is done, the others are under way."""
    builder = HistoryBuilder().enqueued(1, 2, 3, 4).ran(1, by=12).effect(1, by=12).began(2, by=12).killed(12)
    builder.began(4, by=13).sigterm(13)
    builder.recorded(1).recorded(2, 4, status="running").recorded(3, status="queued", fence=0)
    builder.logged(1, ("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1))
    builder.logged(2, ("queued", 0, 0), ("running", 1, 0)).logged(3, ("queued", 0, 0))
    builder.logged(4, ("queued", 0, 0), ("running", 1, 0))
    return builder.queue(ready=1, leased=2, known=3, held=["a2", "a3"])


def judged(builder: HistoryBuilder) -> dict[str, CheckResult]:
    return check_all(standard() | {"shutdown": shutdown(2.0, 2.0)}, builder.history)


def invalid(results: dict[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if result.verdict is Verdict.INVALID}


AT_THE_END = {"delivery", "transitions", "queue", "witnesses", "recovery", "shutdown"}


@each_cut
def test_a_true_system_is_not_invalid_in_a_run_that_was_cut_short(cut: Cut) -> None:
    assert invalid(judged(truth().drained(unfinished=3))) == AT_THE_END
    results = judged(cut(truth()))
    assert invalid(results) == set()
    assert results["evidence"].verdict is Verdict.UNKNOWN
    assert {name for name in AT_THE_END if results[name].verdict is not Verdict.UNKNOWN} == set()
    assert results["delivery"].figures["unfinished"] == 3
    assert (results["delivery"].figures["lost"], results["delivery"].figures["stuck"]) == (None, None)
    assert "3 unfinished" in results["delivery"].summary
    assert str(cut_short(cut(truth()).history)) in results["delivery"].summary


@each_cut
def test_an_acknowledged_task_without_any_record_is_not_lost_in_a_run_that_was_cut_short(cut: Cut) -> None:
    builder = HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).queue()
    assert delivery()(cut(builder).history).verdict is Verdict.UNKNOWN


@each_cut
def test_what_does_not_depend_on_the_end_stays_invalid(cut: Cut) -> None:
    twice = truth().ran(3, 3, by=13)
    assert duplicates(0)(cut(twice).history).verdict is Verdict.INVALID
    assert fencing()(cut(truth().ran(3, by=13).ran(3, by=14)).history).verdict is Verdict.INVALID
    illegal = truth().enqueued(9).logged(9, ("queued", 0, 0), ("complete", 0, 1), ("running", 1, 0))
    assert "transitions" in invalid(judged(cut(illegal)))
    unexpected = truth().ran(77, by=13)
    assert {"delivery", "witnesses"} <= invalid(judged(cut(unexpected)))
    false_end = truth().enqueued(8).recorded(8)
    found = judged(cut(false_end))
    assert "delivery" in invalid(found)
    assert found["delivery"].figures["lost"] == 1


@each_cut
def test_a_pool_that_the_harness_ended_after_the_run_was_cut_short_is_not_judged(cut: Cut) -> None:
    builder = HistoryBuilder().enqueued(1).phase("the drain", INFO).at(9).op("pool-1", INFO, "stop", pid=1)
    builder.op("pool-1", INFO, "kill", pid=1).exited(code=-9)
    assert judged(cut(builder))["exits"].verdict is Verdict.UNKNOWN


def test_a_pool_that_ended_badly_before_the_run_was_cut_short_is_invalid() -> None:
    builder = HistoryBuilder().enqueued(1).exited(code=1).enqueued(2).at(9)
    for cut in CUTS:
        assert judged(cut(HistoryBuilder.of(builder)))["exits"].verdict is Verdict.INVALID, cut.__name__


def test_a_breakdown_after_the_drain_leaves_the_end_judged() -> None:
    builder = truth().op("runner", INFO, "drain", unfinished=3, patience=5.0, quiet=5.0).phase("the drain")
    builder.phase("stopping the pools", FAIL).broke_down("pool-1 did not end within 20 s.")
    builder.phase("collecting the evidence")
    assert cut_short(builder.history) is None
    assert judged(builder)["delivery"].verdict is Verdict.INVALID


PATIENT = Promises(survives=frozenset(Loss), takes_over_after=30.0)


def test_a_task_for_which_the_drain_did_not_wait_as_long_as_promised_is_not_stuck() -> None:
    hasty = truth().promised(PATIENT).drained(unfinished=3, patience=5.0)
    assert "promises a recovery within 30 s" in str(open_end(hasty.history))
    assert invalid(judged(hasty)) & AT_THE_END == {"shutdown"}, "a pool that never ended is one all the same"
    patient = truth().promised(PATIENT).drained(unfinished=3, patience=30.0, quiet=30.0)
    found = judged(patient)
    assert found["delivery"].figures["stuck"] == 3
    assert invalid(found) >= {"delivery", "transitions", "queue", "recovery"}


def test_a_promise_for_another_loss_than_that_of_the_run_needs_no_patience() -> None:
    made = Promises(recovers_within={Loss.BROKER_EMPTIED: 300.0, Loss.WORKER_KILLED: 4.0})
    assert open_end(truth().promised(made).drained(unfinished=3, patience=5.0).history) is None
    assert open_end(truth().promised(made).drained(unfinished=3, patience=3.0).history) is not None


def test_a_task_that_is_gone_from_every_store_is_lost_however_short_the_patience_was() -> None:
    builder = HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).queue(held=[])
    builder.promised(PATIENT).drained(unfinished=1, patience=1.0)
    found = delivery()(builder.history)
    assert (found.verdict, found.figures["lost"]) == (Verdict.INVALID, 1)


def test_a_machine_that_stood_still_while_the_drain_waited_leaves_a_task_unfinished() -> None:
    builder = truth().at(20).drained(unfinished=3, patience=5.0, quiet=5.0)
    assert delivery()(builder.history).figures["stuck"] == 3
    builder.at(19).machine(delay=4.0)
    found = delivery()(builder.history)
    assert (found.verdict, found.figures["unfinished"]) == (Verdict.UNKNOWN, 3)
    assert "sleeps up to 4000 ms late" in found.summary


def test_a_task_that_only_the_queue_has_is_stuck_and_one_that_nothing_has_is_lost() -> None:
    builder = HistoryBuilder().enqueued(1, 2, 3).ran(1, by=12).recorded(1)
    found = delivery()(builder.queue(ready=1, known=1, held=["a2"]).history)
    assert [(one["kind"], one["task"]) for one in found.counterexamples] == [("lost", 3), ("stuck", 2)]


@pytest.mark.parametrize(("ready", "kind"), [(2, "stuck"), (1, "lost"), (0, "lost")])
def test_a_queue_that_reports_only_numbers_holds_all_tasks_without_a_record_or_none(
    ready: int, kind: str
) -> None:
    builder = HistoryBuilder().enqueued(1, 2, 3).ran(1, by=12).recorded(1).queue(ready=ready, known=ready)
    assert {one["kind"] for one in delivery()(builder.history).counterexamples} == {kind}


def test_a_record_brings_a_task_back_only_where_the_system_survives_an_emptied_broker() -> None:
    def kind(*survives: Loss) -> str:
        builder = (
            HistoryBuilder().enqueued(1, 2).ran(1, by=12).recorded(1).recorded(2, status="running").queue()
        )
        found = delivery()(
            builder.promised(Promises(survives=frozenset(survives))).drained(unfinished=1).history
        )
        [example] = found.counterexamples
        return str(example["kind"])

    assert kind(Loss.WORKER_KILLED) == "lost"
    assert kind(Loss.BROKER_EMPTIED) == "stuck"


def test_a_task_that_failed_at_its_gate_is_not_held_against_the_system() -> None:
    builder = HistoryBuilder().enqueued(1).began(1, by=12)
    error = "GateError: the gate 'task-1' was not opened within 60 s."
    builder.op("worker-12", FAIL, "run", task=1, activity="a1", fence=1, error=error)
    found = delivery()(builder.recorded(1, status="error").history)
    assert found.verdict is Verdict.UNKNOWN
    assert "the harness did not open" in found.summary
    own = HistoryBuilder().enqueued(1).began(1, by=12)
    own.op("worker-12", FAIL, "run", task=1, activity="a1", fence=1, error="ValueError: no")
    assert delivery()(own.recorded(1, status="error").history).verdict is Verdict.INVALID


def test_a_released_task_that_had_no_time_to_begin_again_is_unknown() -> None:
    builder = HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12).at(4.1).ended(1, by=12, outcome=INFO)
    builder.at(4.2).exited()
    assert shutdown(2.0, 1.0)(builder.history).verdict is Verdict.INVALID
    assert shutdown(2.0, 1.0)(broken_drain(builder).history).verdict is Verdict.UNKNOWN


def test_a_finished_run_is_judged_as_before() -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1).queue(held=[]).drained()
    assert (cut_short(builder.history), open_end(builder.history)) == (None, None)
    assert delivery()(builder.history).verdict is Verdict.VALID
    assert [op.type for op in builder.history.where("phase")].count(OK) == 3
