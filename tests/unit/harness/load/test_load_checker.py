"""The load of a chaos run, judged by its history: latencies from the intended time, what is missing, the generator."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from harness.checkers.base import CheckResult, Verdict, check_safe
from harness.errors import UsageError
from harness.history import DEADLOCKS, RUNNER
from harness.history.names import LOAD
from harness.load.document import load_document
from harness.load.histogram import LatencyHistogram
from harness.load.load_checker import judged_load, load_checker, recorded_load
from harness.load.planned_load import PlannedLoad
from harness.load.thresholds import ThresholdOutcome
from harness.run.asked_load import checker_of_load
from tests.support.histories import INFO, INVOKE, OK, HistoryBuilder

NUMBER = 10
"""Tasks of the load, one each second from the second 1 on."""


class LoadHistory(HistoryBuilder):
    """A load that begins at the second 1; each task takes half a second."""

    def __init__(self, thresholds: dict[str, str], *, ahead: float = 1000.0) -> None:
        super().__init__()
        load = PlannedLoad.of("hold(1, '30s')", seed=1, thresholds=[], lateness=0.05)
        value = load.to_value() | {"arrivals": NUMBER, "seconds": 10.0}
        self.ahead = ahead
        self.at(1).op(RUNNER, INVOKE, LOAD, **value | {"thresholds": thresholds, "start": 1_000_000_000})

    def task(
        self,
        number: int,
        *,
        late: float = 0.0,
        took: float = 0.5,
        status: str = "complete",
        answer: Any = OK,
        name: str | None = None,
    ) -> LoadHistory:
        """A task that is due at the second of its number, sent `late` seconds after, and ends `took` seconds after."""
        due = float(number)
        named = {} if name is None else {"name": name}
        self.at(due + late).op("client", INVOKE, "enqueue", task=number, intended=round(due * 1e9))
        if answer is not None:
            value = {"task": number, "activity": f"a{number}", **named}
            self.at(due + late + 0.01).op("client", answer, "enqueue", **value)
        if answer is OK:
            self.at(due + late + 0.1).began(number, by=7)
            if status == "complete":
                self.at(due + took - 0.05).ended(number, by=7)
            self.log(number, "queued", due + late + 0.005).log(number, status, due + took)
            self.recorded(number, status=status)
        return self

    def log(self, number: int, status: str, second: float) -> LoadHistory:
        """A row of the store's log, whose clock is `ahead`."""
        value = {"task": number, "activity": f"a{number}", "fence": 0 if status == "queued" else 1}
        self.op("postgres", INFO, "transition", **value, n=0, status=status, at=second + self.ahead)
        return self

    def ended_load(self, *lateness: float) -> LoadHistory:
        """The end of the load, whose generator noticed each arrival so late."""
        noticed = LatencyHistogram.of(lateness or [0.001] * NUMBER)
        self.at(12.5).op(RUNNER, OK, LOAD, noticed=noticed.to_value())
        return self


def loaded(*numbers: int, **thresholds: str) -> LoadHistory:
    history = LoadHistory(thresholds)
    for number in numbers:
        history.task(number)
    return history


ALL_TASKS = range(1, NUMBER + 1)


def judged(builder: HistoryBuilder) -> CheckResult:
    return check_safe(load_checker(), builder.history)


def test_latencies_count_from_the_intended_time_to_the_last_status_of_the_log() -> None:
    history = loaded(*ALL_TASKS[:-1], TASK="p50 < 600ms, max < 3100ms", ALL="rate > 95%")
    history.task(10, late=2.0, took=3.0).ended_load()
    result = judged(history)
    assert result.verdict is Verdict.VALID, result.summary
    found = judged_load(history.history)
    assert found is not None
    rows = found.verdict.evidence.all_rows()
    # The clock of the store is known to the time that a submission takes.
    assert rows["TASK"].latencies.quantile(50) == pytest.approx(0.495, abs=0.006)
    assert rows["TASK"].latencies.most == pytest.approx(2.995, abs=0.006)
    assert rows["ENQUEUE"].latencies.most == pytest.approx(2.01, rel=0.01)
    assert rows["LATE"].latencies.most == pytest.approx(2.0, rel=0.01)
    assert rows["WAIT"].latencies.quantile(50) == pytest.approx(0.09, rel=0.02)
    assert rows["RUN"].latencies.quantile(50) == pytest.approx(0.395, abs=0.006)
    assert (rows["ALL"].count, rows["ALL"].errors) == (NUMBER, 0)


def test_a_store_that_commits_late_is_part_of_the_latency() -> None:
    history = loaded(*ALL_TASKS[:-1], TASK="max < 1s").task(10)
    history.operations = [op for op in history.operations if op.value.get("at") != 10.5 + history.ahead]
    result = judged(history.log(10, "complete", 14.0).ended_load())
    assert result.verdict is Verdict.INVALID
    assert result.summary == "TASK: max < 1s is breached: it was 3.995s"
    assert {"kind": "slow", "task": 10, "seconds": 3.995} in result.counterexamples


def test_without_a_log_a_task_ends_with_its_handler() -> None:
    history = loaded(*ALL_TASKS, TASK="max < 460ms").ended_load()
    history.operations = [op for op in history.operations if op.f != "transition"]
    assert judged(history).verdict is Verdict.VALID
    history.operations = [op for op in history.operations if op.f != "record"]
    assert judged(history).verdict is Verdict.VALID
    history.operations = [op for op in history.operations if not (op.f == "run" and op.type is OK)]
    assert judged(history).verdict is Verdict.INVALID, "no handler returned"


def test_complete_without_any_time_of_it_is_a_gap() -> None:
    history = loaded(*ALL_TASKS, TASK="p50 < 1s").ended_load()
    ends = {("transition", "complete"), ("run", None)}
    history.operations = [
        op for op in history.operations if op.type is INVOKE or (op.f, op.value.get("status")) not in ends
    ]
    result = judged(history)
    assert result.verdict is Verdict.UNKNOWN
    assert "10 tasks are complete, and the history does not say when" in result.summary


@pytest.mark.parametrize(
    ("last", "threshold", "said"),
    [
        ({"status": "running"}, {"ALL": "lost = 0"}, "ALL: lost = 0 is breached: it was 1"),
        ({"status": "running"}, {"TASK": "lost < 5%"}, "TASK: lost < 5% is breached: it was 10%"),
        ({"status": "error"}, {"TASK": "errors < 1%"}, "TASK: errors < 1% is breached: it was 10%"),
        ({"status": "error"}, {"TASK": "max < 1h"}, "TASK: max < 3600s is breached: it was never"),
        ({"answer": None}, {"ENQUEUE": "errors = 0"}, "ENQUEUE: errors = 0 is breached: it was 1"),
    ],
)
def test_what_did_not_complete_is_a_failure(
    last: dict[str, Any], threshold: dict[str, str], said: str
) -> None:
    result = judged(loaded(*ALL_TASKS[:-1], **threshold).task(10, **last).ended_load())
    assert (result.verdict, result.summary) == (Verdict.INVALID, said)


def test_tasks_after_the_load_are_not_of_it() -> None:
    history = loaded(*ALL_TASKS, TASK="max < 1s").ended_load().task(13, took=30)
    assert judged(history).verdict is Verdict.VALID


def test_an_arrival_that_was_never_sent_is_not_passed_over() -> None:
    result = judged(loaded(*ALL_TASKS[:-1], TASK="p50 < 1s").ended_load())
    assert result.verdict is Verdict.UNKNOWN
    assert "1 arrivals were due and never sent" in result.summary
    assert judged(loaded(*ALL_TASKS[:-1]).ended_load()).verdict is Verdict.INVALID, "dropped = 0 by default"


def test_a_late_generator_is_not_measurable_whatever_is_breached() -> None:
    result = judged(loaded(*ALL_TASKS, TASK="max < 1ms").ended_load(*[0.0] * 9, 1.5))
    assert result.verdict is Verdict.UNKNOWN
    assert "the generator fell behind" in result.summary


def test_a_load_without_its_end_and_a_run_that_was_cut_short_are_not_measurable() -> None:
    assert "did not come to its end" in judged(loaded(*ALL_TASKS)).summary
    cut = judged(loaded(*ALL_TASKS).ended_load().phase("the drain", None))
    assert cut.verdict is Verdict.UNKNOWN
    assert "before it was drained" in cut.summary


def test_a_breach_that_the_machine_explains_is_not_judged() -> None:
    history = loaded(*ALL_TASKS[:-1], TASK="max < 1s").task(10, took=4.0).ended_load()
    assert judged(history).verdict is Verdict.INVALID
    result = judged(history.slow_machine(10, 14, spin=10.0))
    assert result.verdict is Verdict.UNKNOWN
    assert "it was 3.995s, and this machine took away about" in result.summary


def test_each_name_of_a_task_has_rows_of_its_own() -> None:
    thresholds = {
        "TASK refund": "max < 1s, lost = 0",
        "TASK refund_once": "lost = 0, p50 < 1s",
        "WAIT refund": "max < 1s",
        "ENQUEUE refund": "errors = 0",
        "ALL": "lost = 1",
    }
    history = LoadHistory(thresholds)
    for number in ALL_TASKS[:-3]:
        history.task(number, name="refund" if number % 2 else "refund_once")
    history.task(8, took=3.0, name="refund").task(9, status="running", name="refund_once")
    history.task(10, answer=None)
    result = judged(history.ended_load())
    found = judged_load(history.history)
    assert found is not None
    assert result.verdict is Verdict.INVALID
    breached = [one.threshold for one in found.verdict.results if one.outcome is ThresholdOutcome.BREACHED]
    assert [(one.row, one.text) for one in breached] == [
        ("TASK refund", "max < 1s"),
        ("TASK refund_once", "lost = 0"),
    ]
    rows = found.verdict.evidence.rows
    assert (rows["TASK refund"].count, rows["TASK refund_once"].count, rows["TASK"].count) == (5, 4, 9)
    assert rows["TASK"].figures["lost"] == 1
    assert "TASK " not in rows, "a task without an answer has no name, and no row of its own"
    assert [one.row for one in found.verdict.evidence.worst[:2]] == ["TASK refund_once", "TASK refund"]
    assert [one["task"] for one in result.counterexamples if one["kind"] == "slow"] == [8]
    stages = found.measured.figures.series.slices[7].stages
    assert set(stages) == {"enqueue", "wait", "run"}


def test_a_name_that_no_task_has_is_not_measurable() -> None:
    result = judged(loaded(*ALL_TASKS, **{"TASK other": "p50 < 1s"}).ended_load())
    assert result.verdict is Verdict.UNKNOWN
    assert "There is no row 'TASK other'" in result.summary


def gauge(history: LoadHistory, second: float | None, **value: Any) -> LoadHistory:
    history.at(1 + (20 if second is None else second))
    return history.op("gauges", INFO, "gauges", **value, second=second)


def test_what_the_load_used_is_judged_by_the_history() -> None:
    history = loaded(*ALL_TASKS, ALL="wal_bytes_per_task < 95, log_errors = 3").ended_load()
    history.task(13)  # one of those after the faults, which used the servers too
    for second, wal, commits, since in (
        (0, 100, 50, "a"),
        (1, 400, 90, "a"),
        (3, 600, 20, "b"),
        (None, 1200, 60, "b"),
    ):
        totals = {"Postgres WAL": wal, "Postgres commits": commits}
        gauge(history, second, totals=totals, epochs={"Postgres commits": since}, levels={"workers": 2})
    history.op("gauges", INFO, "gauges", missing=["Postgres WAL"], why="it could not be read: away")
    logs = [{"service": "postgres", "count": 3, "sentences": ["gone"], "why": ""}]
    result = judged(history.op("gauges", INFO, "gauges", logs=logs))
    assert result.verdict is Verdict.INVALID
    assert result.summary == "ALL: wal_bytes_per_task < 95 is breached: it was 100"
    found = judged_load(history.history)
    assert found is not None
    used = {one.name: one for one in found.verdict.evidence.resources}
    assert found.measured.sampled.totals["Postgres commits"] == 40 + 20 + 40, (
        "it began at 0 with another epoch"
    )
    assert (used["Postgres WAL"].most, used["Postgres WAL"].why) == (300, "it could not be read: away")
    assert used["workers"].mean == 2
    assert found.measured.figures.series.slices[3].gauges["Postgres commits"] == 10


def test_a_sample_that_cannot_be_read_leaves_nothing_to_judge() -> None:
    result = judged(gauge(loaded(*ALL_TASKS, TASK="p50 < 1s").ended_load(), 1, totals=["Postgres WAL"]))
    assert (result.verdict, "an operation of gauges cannot be read" in result.summary) == (
        Verdict.UNKNOWN,
        True,
    )


def test_a_bound_may_be_a_multiple_of_an_earlier_load_which_the_history_has() -> None:
    earlier = judged_load(loaded(*ALL_TASKS).ended_load().history)
    assert earlier is not None
    document = load_document(earlier.verdict, written_at="2026-01-02T03:04:05+00:00")
    outcomes = []
    for took in (0.5, 4.0):
        history = loaded(*ALL_TASKS[:-1], TASK="max <= 3x").task(10, took=took).ended_load()
        compared = {"baseline": json.loads(json.dumps(document))}
        history.operations = [
            replace(op, value={**op.value, **compared}) if (op.f, op.type) == (LOAD, INVOKE) else op
            for op in history.operations
        ]
        outcomes.append(judged(history))
    assert [one.verdict for one in outcomes] == [Verdict.VALID, Verdict.INVALID]
    assert {"kind": "slow", "task": 10, "seconds": 3.995} in outcomes[1].counterexamples
    assert judged(history.slow_machine(10, 14, spin=10.0)).verdict is Verdict.UNKNOWN


def test_deadlocks_of_the_run_are_a_figure_of_all() -> None:
    history = loaded(*ALL_TASKS, ALL="deadlocks = 0").ended_load()
    assert judged(history).verdict is Verdict.UNKNOWN
    result = judged(history.op(RUNNER, INFO, DEADLOCKS, count=2, source="log"))
    assert result.verdict is Verdict.INVALID


def test_a_history_is_judged_without_the_system_and_its_clients() -> None:
    code = (
        "import sys, harness.load.load_checker; print({'agentexec', 'psycopg', 'locust'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "harness.load.load_checker", None)
    with pytest.raises(UsageError, match=r"A load needs .*Install the extra"):
        checker_of_load(loaded().history)


def test_only_a_history_with_a_load_of_the_runner_has_the_checker() -> None:
    assert set(recorded_load(loaded().history)) == {"load"}
    assert recorded_load(HistoryBuilder().op("load-1", INFO, LOAD, phase="start").history) == {}
    broken = HistoryBuilder().op(RUNNER, INVOKE, LOAD, text="hold(1, '1s')")
    assert judged(broken).verdict is Verdict.UNKNOWN
