"""A measurement comes from the evidence: literal histories, and the rows of their tasks."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.environments.base import ServerVersions
from harness.history import History, Operation, OperationType
from harness.load.task_log import TaskLog, counted
from loadtests.measurement import Measurement
from loadtests.profiles import SMOKE
from loadtests.slo import Slo, evaluate
from loadtests.summary import as_json, table

SECOND = 1_000_000_000


def op(kind: OperationType, f: str, at: float = 1.0, **value: object) -> Operation:
    return Operation(time=int(at * SECOND), process="load-1", type=kind, f=f, value=value)


def enqueued(task: int, latency: float = 5.0) -> list[Operation]:
    return [
        op(OperationType.INVOKE, "enqueue", task=task),
        op(OperationType.OK, "enqueue", task=task, activity=f"a-{task}", latency_ms=latency),
    ]


def completed(task: int, latency: float = 50.0, status: str = "complete") -> Operation:
    return op(
        OperationType.OK, "complete", task=task, activity=f"a-{task}", status=status, latency_ms=latency
    )


def lasting(seconds: float, *operations: Operation) -> History:
    edges = [
        op(OperationType.INFO, "load", 0.0, phase="start"),
        op(OperationType.INFO, "load", seconds, phase="stop"),
    ]
    return History.of([*edges, *operations])


def read(history: History, statuses: Mapping[str, str], duration: float = 10.0) -> Measurement:
    return Measurement.of(history, statuses, duration=duration, planned_in=lambda seconds: 4 * seconds)


def test_what_was_acknowledged_and_completed_is_counted_with_its_latencies() -> None:
    history = lasting(10, *enqueued(1, 7.0), *enqueued(2, 3.0), completed(1, 70.0), completed(2, 30.0))
    found = read(history, {"a-1": "complete", "a-2": "complete"})
    assert (found.attempted, found.acknowledged, found.completed) == (2, 2, 2)
    assert (found.enqueue_ms, found.end_to_end_ms) == ((3.0, 7.0), (30.0, 70.0))
    assert (found.seconds, found.planned, found.problems) == (10.0, 40.0, ())


def test_failed_unknown_and_unanswered_attempts_are_not_acknowledged() -> None:
    attempts = [op(OperationType.INVOKE, "enqueue", task=task) for task in (2, 3, 4)]
    ends = [
        op(OperationType.FAIL, "enqueue", task=2, error="x"),
        op(OperationType.INFO, "enqueue", task=3, error="x"),
    ]
    found = read(lasting(10, *enqueued(1), *attempts, *ends), {"a-1": "complete"})
    assert (found.attempted, found.acknowledged) == (4, 1)


@pytest.mark.parametrize("status", ["queued", "running", "error", "canceled"])
def test_an_acknowledged_task_that_postgres_does_not_call_complete_is_named(status: str) -> None:
    found = read(lasting(10, *enqueued(1), *enqueued(2), completed(2)), {"a-1": status, "a-2": "complete"})
    [task] = found.incomplete
    assert (task.task, task.activity, task.status) == ("load-1/1", "a-1", status)
    assert found.end_to_end_ms == (50.0, math.inf)


def test_an_acknowledged_task_that_postgres_does_not_know_is_absent() -> None:
    [task] = read(lasting(10, *enqueued(1), completed(1)), {}).incomplete
    assert task.status == "absent"


def test_a_task_that_ended_in_an_error_has_no_latency_to_be_proud_of() -> None:
    found = read(lasting(10, *enqueued(1), completed(1, 1.0, status="error")), {"a-1": "error"})
    assert found.end_to_end_ms == (math.inf,)


def test_the_plan_is_for_the_time_that_the_load_lasted() -> None:
    found = read(lasting(8.5, *enqueued(1)), {})
    assert (found.planned, found.problems) == (34.0, ())


@pytest.mark.parametrize("history", [lasting(7.9, *enqueued(1)), History.of(enqueued(1)), History.of([])])
def test_a_load_that_ended_early_or_without_a_time_is_a_problem(history: History) -> None:
    assert read(history, {}).problems == ("the load did not last 10 s",)


def test_the_submission_log_is_read_back_and_counted(tmp_path: Path) -> None:
    log = TaskLog(tmp_path)
    for kind in (OperationType.INVOKE, OperationType.OK):
        log.note(kind, "enqueue", task=1, activity="a-1", latency_ms=1.0)
    log.close()
    assert (counted(tmp_path, "enqueue"), counted(tmp_path, "complete")) == (1, 0)
    assert [op.f for op in History.load(tmp_path)] == ["enqueue", "enqueue"]


def test_a_submission_log_without_a_folder_writes_nothing() -> None:
    log = TaskLog(None)
    log.note(OperationType.OK, "enqueue", task=1)
    log.close()


def test_the_summary_names_the_tasks_and_the_json_has_them_all() -> None:
    operations = [each for task in range(30) for each in enqueued(task)]
    measurement = read(lasting(10, *operations), {})
    report = evaluate(Slo(), measurement)
    text = table(measurement, report)
    assert "task load-1/0 (activity a-0) is absent" in text
    assert "and 10 more, all in slo.json" in text
    assert "service levels: breached" in text
    versions = ServerVersions(postgres="PostgreSQL 18", redis="Valkey 9")
    document = as_json(SMOKE, versions, measurement, report)
    assert len(document["incomplete"]) == 30
    assert document["latency_ms"]["end_to_end"]["p95"] == "never"
    assert document["exit_code"] == 1
    json.dumps(document, allow_nan=False)
