"""What Locust itself saw of a load: errors of the users' own code, and requests that are not of a queue."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.environments.log_errors import LoggedErrors
from harness.errors import UsageError
from harness.load.bill import SpentFigures
from harness.load.figures import LATE, TASK, Figures
from harness.load.locust_test import LoadPlan
from harness.load.locust_verdict import EndedLoad, conclude, ended_evidence, thresholds_of
from harness.load.resources import WAL, Sampled
from harness.load.schedule import LoadSchedule
from harness.load.stages import hold
from harness.load.thresholds import parse
from harness.load.verdict import judge


def ended(sampled: Sampled | None = None, **runner: Any) -> EndedLoad:
    figures = Figures()
    for _ in range(10):
        figures.accounting.notice(0.0)
        figures.accounting.send(0.0)
        figures.accounting.acknowledged += 1
        figures.accounting.terminal["complete"] += 1
        figures.record(LATE, "answer", 0.0)
        figures.record(TASK, "answer", 0.1)
    return EndedLoad(
        run="load-1",
        parts=[(figures, 1.0)],
        plan=LoadPlan(schedule=None, seconds=None),
        workers_lost=[],
        gaps=[],
        sampled=sampled or Sampled(),
        deadlocks=0,
        lateness=0.05,
        processes=1,
        runner=SimpleNamespace(**{"exceptions": {}, "stats": entries()} | runner),
    )


def entries(**failed: int) -> SimpleNamespace:
    requests = {
        (name, "GET"): SimpleNamespace(num_requests=10, num_failures=count) for name, count in failed.items()
    }
    of_a_queue = {("(never sent)", "ENQUEUE"): SimpleNamespace(num_requests=10, num_failures=10)}
    return SimpleNamespace(entries=requests | of_a_queue)


def test_requests_of_an_api_that_fail_are_a_breach() -> None:
    assert conclude(ended(stats=entries(tasks=0)), (), None) == 0
    assert conclude(ended(stats=entries(tasks=5)), (), None) == 1
    assert ended_evidence(ended(stats=entries(tasks=5))).rows["GET tasks"].errors == 5


def test_the_bill_of_an_endpoint_is_in_the_row_of_the_whole_run() -> None:
    billed = replace(ended(), bill=SpentFigures(figures={"tokens": 100, "cost": 2.5}))
    assert ended_evidence(billed).all_rows()["ALL"].figures == {
        **{"deadlocks": 0, "tokens": 100, "cost": 2.5},
        **{"lost": 0, "dropped": 0, "late": 0},
    }
    assert conclude(billed, parse("ALL", "cost < 2.50 USD, tokens = 100"), None) == 1
    assert conclude(ended(), parse("ALL", "tokens < 5"), None) == 2


def test_a_bill_that_is_not_exact_is_not_measurable_unless_something_is_breached() -> None:
    inexact = replace(ended(), bill=SpentFigures(unknown="2 requests still run."))
    assert conclude(inexact, (), None) == 2
    assert conclude(inexact, parse("TASK answer", "p50 < 1ms"), None) == 1
    (doubt,) = judge(ended_evidence(inexact), ()).doubts
    assert (doubt.kind, doubt.text) == ("unbilled", "what the load cost is not known: 2 requests still run")


def test_an_error_of_the_users_own_code_is_named_without_its_secret() -> None:
    raised = {1: {"count": 3, "msg": "wrong: redis://:s3cret@host/0"}}
    (doubt,) = judge(ended_evidence(ended(exceptions=raised)), ()).doubts
    assert doubt.text == "the users' own code raised 3 times: wrong: redis://:***@host/0"
    assert conclude(ended(exceptions=raised), (), None) == 2


def test_what_is_missing_in_the_figures_of_a_process_is_not_measurable() -> None:
    judged = ended()
    judged.parts[0][0].gaps.append("the arrivals of the load process 1 of 2 broke off: OSError: gone")
    (doubt,) = judge(ended_evidence(judged), ()).doubts
    assert doubt.text == (
        "the evidence has a gap: the arrivals of the load process 1 of 2 broke off: OSError: gone"
    )
    assert conclude(judged, (), None) == 2


def test_a_load_that_is_stopped_is_judged_by_what_was_due_in_each_process_until_its_own_end() -> None:
    """Each has had ten arrivals, in 1 s and in 1.5 s. The schedule promises 25 in 1.25 s, on average."""
    schedule = LoadSchedule(stages=hold(20, "1m"))
    first, second = ended(), ended()
    judged = replace(
        first,
        parts=[*first.parts, (second.parts[0][0], 1.5)],
        plan=LoadPlan(schedule=schedule, seconds=schedule.seconds),
        processes=2,
    )
    evidence = ended_evidence(judged)
    thresholds = {"ALL": "rate >= 100%, rate >= 16/s", "TASK answer": "rate = 100%, rate = 16/s"}
    assert [one.outcome for one in judge(evidence, thresholds).results[:4]] == ["met"] * 4
    assert (evidence.planned, evidence.accounting.due) == (25, 20)


class UnreadablePlan(LoadPlan):
    def planned(self, seconds: float) -> float | None:
        raise OSError(f"the trace of {seconds:g} s is gone")


def test_a_plan_that_cannot_be_read_again_is_not_measurable(tmp_path: Path) -> None:
    judged = replace(ended(), plan=UnreadablePlan(schedule=None, seconds=None))
    (doubt,) = judge(ended_evidence(judged), ()).doubts
    assert doubt.text.endswith("the planned arrivals cannot be counted: OSError: the trace of 1 s is gone")
    assert conclude(judged, (), tmp_path) == 2


def of_files(monkeypatch: pytest.MonkeyPatch, **files: Any) -> Any:
    """An environment of Locust with these files; each has the given thresholds."""
    for path, thresholds in files.items():
        module = SimpleNamespace() if thresholds is None else SimpleNamespace(thresholds=thresholds)
        monkeypatch.setitem(sys.modules, path, module)
    return SimpleNamespace(parsed_locustfiles=[f"load/{path}.py" for path in files])


def test_the_thresholds_of_several_locustfiles_all_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"TASK answer": "p95 < 2s, lost = 0", "LATE": "dropped = 0"}
    environment = of_files(monkeypatch, chat=first, search={"TASK answer": "p95 < 1s, lost = 0"}, empty=None)
    found = [f"{one.row}: {one.text}" for one in thresholds_of(environment)]
    assert found == [
        "TASK answer: p95 < 2s", "TASK answer: lost = 0", "LATE: dropped = 0", "TASK answer: p95 < 1s"
    ]  # fmt: skip


def test_locustfiles_that_locust_cannot_tell_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = of_files(monkeypatch, chat={"LATE": "dropped = 0"})
    environment.parsed_locustfiles += ["other/chat.py"]
    with pytest.raises(UsageError, match=r"load/chat\.py and other/chat\.py have one name"):
        thresholds_of(environment)
    with pytest.raises(UsageError, match=r"thresholds. of load/wrong\.py must map a row"):
        thresholds_of(of_files(monkeypatch, wrong={"LATE": 5}))


def test_a_locustfile_with_the_name_of_locust_has_its_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = of_files(monkeypatch, locustfile={"LATE": "dropped = 0"})
    environment.parsed_locustfiles = ["load/locust.py"]
    assert [one.row for one in thresholds_of(environment)] == ["LATE"]


def test_the_log_of_postgres_for_each_task_and_the_errors_of_the_servers_can_be_thresholds() -> None:
    logs = [
        LoggedErrors(service="postgres", count=1, sentences=("no",)),
        LoggedErrors(service="redis", count=1),
    ]
    sampled = Sampled(totals={WAL: 50_000.0}, logs=logs)
    thresholds = {"ALL": "wal_bytes_per_task <= 5000, log_errors = 1"}
    met, breached, *_ = judge(ended_evidence(ended(sampled)), thresholds).results
    assert (met.measured, met.outcome, breached.measured, breached.outcome) == (5000, "met", 2, "breached")


def test_figures_that_are_not_known_meet_no_threshold() -> None:
    sampled = Sampled(
        logs=[LoggedErrors(service="postgres", count=0), LoggedErrors(service="redis", count=None)]
    )
    thresholds = {"ALL": "wal_bytes_per_task >= 0, log_errors = 0"}
    outcomes = [one.outcome for one in judge(ended_evidence(ended(sampled)), thresholds).results]
    assert outcomes[:2] == ["not measurable", "not measurable"]
