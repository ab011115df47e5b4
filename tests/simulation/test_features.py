"""What a workload may have beside plain tasks, each in a small plan that reaches its event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.history import OperationType
from harness.simulation import Plan, simulate
from harness.simulation.plan import CallKind, FaultKind, PlannedCall, PlannedTask, SimulatedFault
from tests.planted.defects import DEFECTS
from tests.planted.edits import Edit, applied

TASKS = tuple(PlannedTask(number=number, at=1.0 + 0.01 * number, work=0.3) for number in range(8))
PLAIN = Plan(seed=1, pools=1, workers=1, tasks=TASKS, faults=())
CALLED = tuple(PlannedCall(kind=kind, at=at, task=1) for kind in CallKind for at in (1.2, 2.5))
TWICE = tuple(replace(task, resend=0.5) for task in TASKS)
LOSES = SimulatedFault(kind=FaultKind.PRODUCER_LOSES_REPLY, at=0.9, after=True, skip=2)


@pytest.mark.parametrize(
    ("plan", "events"),
    [
        (replace(PLAIN, max_depth=4), {"full-queue-refuses", "full-queue-takes-later"}),
        (replace(PLAIN, tasks=TWICE), {"resent-after-reply", "enqueue-known-already"}),
        (replace(PLAIN, calls=CALLED), {"result-read-by-client"}),
        (replace(PLAIN, faults=(LOSES,)), {"reply-lost-enqueue-commit"}),
    ],
)
def test_a_feature_of_the_workload_reaches_its_events_and_breaks_nothing(
    plan: Plan, events: set[str]
) -> None:
    outcome = simulate(plan)
    assert not outcome.findings
    assert events <= outcome.reached
    assert not events & simulate(PLAIN).reached


def test_a_task_that_a_service_ends_is_an_error_as_planned() -> None:
    fail = SimulatedFault(kind=FaultKind.FAIL, at=1.2, victim=7)
    outcome = simulate(replace(PLAIN, faults=(fail,)))
    records = {op.value["task"]: op.value["status"] for op in outcome.history.where("record")}
    assert not outcome.findings
    assert {task for task, status in records.items() if status == "error"} == {7}


def test_a_note_of_a_service_is_in_the_log_and_no_step_of_the_task() -> None:
    outcome = simulate(replace(PLAIN, calls=CALLED))
    notes = [op for op in outcome.history.where("transition") if op.value["fence"] == 0 and op.value["n"]]
    assert not outcome.findings
    assert [op.value["status"] for op in notes] == ["queued"]


def test_what_a_full_queue_refused_has_no_certain_outcome() -> None:
    answers = simulate(replace(PLAIN, max_depth=4)).history.where("enqueue")
    assert {op.type for op in answers} == {OperationType.INVOKE, OperationType.OK, OperationType.INFO}


def test_a_cancel_that_was_accepted_and_the_key_of_a_submission_are_in_the_history() -> None:
    cancel = SimulatedFault(kind=FaultKind.CANCEL, at=1.2, victim=1)
    outcome = simulate(replace(PLAIN, faults=(cancel,)))
    assert [op.value["task"] for op in outcome.history.where("cancel", OperationType.OK)] == [1]
    asked = outcome.history.where("enqueue", OperationType.INVOKE)
    assert {op.value["key"] for op in asked} == {f"task {task.number}" for task in TASKS}
    assert not outcome.findings


def test_an_error_that_is_no_dead_letter_in_the_record_is_a_finding() -> None:
    fails = tuple(replace(task, failures=5) for task in TASKS)
    marked = "dead_lettered_at = CASE WHEN v.status = 'error' AND a.queue_name <> '' THEN {now} END"
    edit = Edit(where="agentexec.store.statements:FINISHED", old=marked, new="dead_lettered_at = NULL")
    assert not simulate(replace(PLAIN, tasks=fails)).findings
    with applied([edit]):
        assert _checkers(replace(PLAIN, tasks=fails)) == {"outcomes"}


def test_a_dead_letter_of_no_recorded_task_is_left_behind() -> None:
    with DEFECTS["resend-dispatched-anew"].planted():
        assert "queue" in _checkers(replace(PLAIN, tasks=TWICE))


def test_a_worker_that_outlives_its_pool_is_a_finding() -> None:
    kill = SimulatedFault(kind=FaultKind.KILL_PARENT, at=1.2)
    assert not simulate(replace(PLAIN, faults=(kill,))).findings
    with DEFECTS["orphan-works-on"].planted():
        assert "liveness" in _checkers(replace(PLAIN, faults=(kill,)))


def _checkers(plan: Plan) -> set[str]:
    return {finding.checker for finding in simulate(plan).findings}


def test_a_worker_that_is_replaced_although_nothing_asks_for_it_is_a_finding() -> None:
    edit = Edit(where="agentexec.worker.process:Worker._watch", old="over and not (", new="over or not (")
    with applied([edit]):
        assert _checkers(PLAIN) == {"invariants"}
