"""The verdict of a load: which reason gives which exit code, and the files that say so."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import UsageError
from harness.load.accounting import Accounting
from harness.load.files import load_table, write_load
from harness.load.rows import LoadRow
from harness.load.verdict import LoadEvidence, WorstTask, judge

THRESHOLDS = {"TASK answer": "p95 < 1s"}


def evidence(*, tasks: int = 100, latency: float = 0.1, noticed: float = 0.001) -> LoadEvidence:
    counts, row = Accounting(), LoadRow(planned=tasks, seconds=10)
    for _ in range(tasks):
        counts.notice(noticed)
        counts.send(noticed)
        counts.acknowledged += 1
        counts.terminal["complete"] += 1
        row.record(latency)
    return LoadEvidence(accounting=counts, rows={"TASK answer": row}, planned=tasks, seconds=10)


def lose(found: LoadEvidence, count: int) -> LoadEvidence:
    found.accounting.terminal["complete"] -= count
    found.accounting.lost += count
    return found


def drop(found: LoadEvidence, count: int, noticed: float = 0.001) -> LoadEvidence:
    found.accounting.notice(noticed, count)
    found.accounting.drop(count)
    found.rows["TASK answer"].record(math.inf, count=count)
    return found


def fail(found: LoadEvidence, count: int) -> LoadEvidence:
    found.accounting.terminal["complete"] -= count
    found.accounting.terminal["error"] += count
    return found


def leave_a_gap(found: LoadEvidence) -> LoadEvidence:
    found.accounting.terminal["complete"] -= 1
    return found


@pytest.mark.parametrize(
    ("found", "code", "summary"),
    [
        (evidence(), 0, "All 3 thresholds are met, over 100 arrivals."),
        (
            evidence(latency=2),
            1,
            "1 of 3 thresholds breached, over 100 arrivals. TASK answer: p95 < 1s is breached: it was 2s.",
        ),
        (lose(evidence(), 1), 1, "ALL: lost = 0 is breached: it was 1."),
        (fail(evidence(), 1), 1, "ALL: errors < 1% is breached: it was 1%."),
        (drop(evidence(), 10), 1, "TASK answer: p95 < 1s is breached: it was never."),
        (
            evidence(noticed=0.06),
            2,
            "the generator fell behind: the p99 of its lateness was 60ms, its bound is 50ms",
        ),
        (evidence(noticed=0.06, latency=2), 2, "the generator fell behind"),
        (
            drop(evidence(), 10, noticed=math.inf),
            2,
            "the p99 of its lateness was infinite, its bound is 50ms",
        ),
        (
            drop(evidence(tasks=1000), 1, noticed=1.5),
            2,
            "the maximum of its lateness was 1.5s, its bound is 1s",
        ),
        (
            replace(evidence(), cap=5000),
            2,
            "Not measurable, over 100 arrivals: the cap of 5000 tasks was reached.",
        ),
        (replace(evidence(), workers_lost=["b"]), 2, "the load worker b was lost"),
        (replace(evidence(), gaps=["a file has a hole."]), 2, "the evidence has a gap: a file has a hole."),
        (leave_a_gap(evidence()), 2, "100 tasks were acknowledged, but 99 are terminal or lost"),
        (evidence(tasks=0), 2, "no arrival was due"),
        (replace(evidence(), rows={}), 2, "1 of 3 thresholds not measurable, over 100 arrivals. TASK answer"),
    ],
)
def test_the_reason_decides_the_exit_code(found: LoadEvidence, code: int, summary: str) -> None:
    verdict = judge(found, THRESHOLDS)
    assert (verdict.exit_code, summary in verdict.summary) == (code, True), verdict.summary


def test_what_was_never_sent_is_no_success_even_if_no_threshold_says_so() -> None:
    found = judge(drop(evidence(tasks=1000), 1), {"ALL": "p50 < 1s, errors < 50%"})
    assert (found.exit_code, found.doubts[0].kind.value) == (2, "never-sent")
    met = judge(drop(evidence(tasks=1000), 1), THRESHOLDS)
    assert (met.exit_code, met.summary) == (
        2,
        "Not measurable, over 1001 arrivals: 1 arrivals were due and never sent.",
    )


def test_a_run_without_thresholds_loses_nothing_and_hardly_fails() -> None:
    assert judge(evidence(), {}).exit_code == 0
    assert judge(fail(evidence(tasks=1000), 10), {}).exit_code == 1
    assert judge(fail(evidence(), 5), {"TASK answer": "errors < 10%"}).exit_code == 0
    assert judge(lose(evidence(), 1), {"TASK answer": "lost < 10%"}).exit_code == 1
    assert judge(lose(evidence(), 1), {"ALL": "lost < 10%, errors < 10%"}).exit_code == 0


@pytest.mark.parametrize(
    ("thresholds", "code"), [({}, 1), ({"ALL": "deadlocks < 5"}, 0), ({"TASK answer": "p95 < 1s"}, 1)]
)
def test_a_deadlock_is_a_breach_where_deadlocks_are_known(thresholds: dict[str, str], code: int) -> None:
    found = evidence()
    known = replace(found, rows={**found.rows, "ALL": LoadRow(figures={"deadlocks": 1})})
    assert judge(known, thresholds).exit_code == code
    assert judge(found, {}).exit_code == 0


def test_a_threshold_that_cannot_be_read_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        judge(evidence(), {"ALL": "fast"})


def test_the_files_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "job.md"))
    worst = WorstTask(row="TASK answer", activity="a1", intended=3.5, seconds=math.inf, stages={"wait": 2.0})
    secret = {"run": "load-1", "servers": "postgresql://user:geheim@localhost/app"}
    verdict = judge(replace(drop(evidence(), 10), worst=[worst], facts=secret), THRESHOLDS)
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    paths = write_load(verdict, folder)

    document = json.loads(paths.json.read_text())
    assert (document["schema"], document["schema_version"]) == ("agentexec-harness/load-verdict", 1)
    assert (document["verdict"], document["outcome"], document["exit_code"]) == ("INVALID", "breached", 1)
    assert document["thresholds"][0]["measured"] == document["worst"][0]["seconds"] == "never"
    assert document["rows"]["TASK answer"]["latency"]["max"] == "never"
    assert document["counts"]["dropped"] == 10
    assert document["doubts"] == [{"kind": "never-sent", "text": "10 arrivals were due and never sent"}]

    (suite,) = ElementTree.parse(paths.junit).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("4", "2", "1")
    failure = suite.find("testcase[@name='TASK answer: p95 < 1s']/failure")
    assert failure is not None
    assert failure.attrib["message"] == "TASK answer: p95 < 1s is breached: it was never."

    summary = paths.markdown.read_text()
    assert summary.startswith("## ❌ INVALID: load breached\n")
    assert "| TASK answer | 110 | 10 | 100 ms | never | never | never |" in summary
    assert (tmp_path / "job.md").read_text() == summary
    assert "breached  TASK answer: p95 < 1s is breached: it was never." in load_table(verdict)
    assert (folder / "notes.txt").read_text() == "mine"
    assert not any("geheim" in path.read_text() for path in folder.iterdir())


def test_a_threshold_of_errors_hides_no_errors_of_other_rows() -> None:
    """A task that was not acknowledged is in no row TASK, and a request of an API is in no row of a queue."""
    thresholds = {"TASK answer": "errors < 10%"}
    found = evidence()
    refused = LoadRow(count=100, errors=50, planned=100)
    assert judge(with_row(found, "ENQUEUE answer", refused), thresholds).exit_code == 1
    assert judge(with_row(found, "TASK other", refused), thresholds).exit_code == 1
    asked = LoadRow(count=100, errors=50)
    assert judge(with_row(found, "GET /api/tasks", asked), {}).exit_code == 1
    assert judge(with_row(found, "GET /api/tasks", asked), {"ALL": "errors < 10%"}).exit_code == 1
    for own in ("GET /api/tasks", "GET"):
        assert judge(with_row(found, "GET /api/tasks", asked), {own: "errors < 60%"}).exit_code != 1
    assert judge(with_row(found, "ENQUEUE answer", refused), {"ALL": "errors < 10%"}).exit_code == 0


def test_an_error_of_the_users_own_code_is_never_met_and_hides_no_breach() -> None:
    raised = ["the users' own code raised 3 times: ValueError('x')"]
    assert judge(replace(evidence(), raised=raised), {}).exit_code == 2
    assert judge(replace(lose(evidence(), 1), raised=raised), {}).exit_code == 1


def with_row(found: LoadEvidence, name: str, row: LoadRow) -> LoadEvidence:
    return replace(found, rows={**found.rows, name: row})
