"""A load is compared with an earlier one: by thresholds, in the page and in the summary."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.load.accounting import Accounting
from harness.load.baseline import baseline_for
from harness.load.files import write_load
from harness.load.rows import LoadRow
from harness.load.thresholds import parse, parse_all, parse_conditions
from harness.load.verdict import LoadEvidence, judge


def evidence(latency: float, *, tasks: int = 100, name: str = "answer", late: float = 0.0) -> LoadEvidence:
    counts, row = Accounting(), LoadRow(planned=100, seconds=10)
    for _ in range(tasks):
        counts.notice(late)
        counts.send(late)
        counts.acknowledged += 1
        counts.terminal["complete"] += 1
        row.record(latency)
    rows = {f"TASK {name}": row}
    return LoadEvidence(
        accounting=counts, rows=rows, planned=100, seconds=10, facts={"run": "load-20261127-000000-000000"}
    )


def report(folder: Path, found: LoadEvidence) -> Path:
    write_load(judge(found, ()), folder)
    return folder


@pytest.mark.parametrize(
    ("text", "latency", "tasks", "outcome", "measured"),
    [
        ("p95 <= 1.2x", 1.1, 100, "met", "1.1x"),
        ("p95 <= 1.2x", 1.3, 100, "breached", "1.3x"),
        ("p99.9 < 1.2x", 0.5, 100, "met", "0.5x"),
        ("p95 <= 1.2x", math.inf, 100, "breached", "infinite"),
        ("rate >= 0.9x", 1.0, 90, "met", "0.9x"),
        ("rate >= 0.9x", 1.0, 50, "breached", "0.5x"),
        ("mean < 1.2x", 1.1, 100, "met", "1.1x"),
    ],
)
def test_a_threshold_may_be_a_multiple_of_the_baseline(
    text: str, latency: float, tasks: int, outcome: str, measured: str, tmp_path: Path
) -> None:
    thresholds = parse("TASK answer", text)
    baseline = baseline_for(report(tmp_path, evidence(1.0)), thresholds)
    assert baseline is not None
    result = judge(evidence(latency, tasks=tasks), thresholds, baseline.rows).results[0]
    assert (result.outcome.value, result.reason) == (outcome, None)
    assert f"it was {measured}" in result.text


def test_what_the_baseline_did_not_see_is_not_measurable(tmp_path: Path) -> None:
    thresholds = parse("TASK answer", "p95 < 2x")
    for name, latency in (("other", 1.0), ("answer", math.inf), ("answer", 0.0)):
        baseline = baseline_for(report(tmp_path, evidence(latency, name=name)), thresholds)
        assert baseline is not None
        verdict = judge(evidence(1.0), thresholds, baseline.rows)
        assert (verdict.exit_code, "baseline has no p95" in verdict.summary) == (2, True), verdict.summary


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rows": {"TASK answer": {}}}, "has no rows that can be read"),
        ({"facts": None}, "has no rows that can be read"),
        ({"schema": "other"}, "no verdict of a load"),
    ],
)
def test_a_baseline_that_cannot_be_compared_is_refused(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    file = report(tmp_path, evidence(1.0)) / "verdict.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(UsageError, match=sentence):
        baseline_for(file, ())


def test_a_baseline_that_was_not_measurable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was not measurable itself"):
        baseline_for(report(tmp_path, evidence(1.0, late=60.0)), ())


def test_a_threshold_that_needs_a_baseline_is_refused_without_one() -> None:
    assert baseline_for(None, parse_all({"TASK answer": "p95 < 2s"})) is None
    with pytest.raises(UsageError, match="give --load-baseline DIR"):
        baseline_for(None, parse_all({"TASK answer": "p95 < 2s, p95 <= 1.2x"}))
    with pytest.raises(UsageError, match="cannot have a baseline"):
        parse_conditions("TASK answer p99 > 2x")
    with pytest.raises(UsageError, match="wrong unit"):
        parse("TASK answer", "lost < 2x")


def test_the_summary_has_the_baseline_beside_each_row(tmp_path: Path) -> None:
    before = report(tmp_path / "before", evidence(0.5))
    earlier = before / "verdict.json"
    text = write_load(judge(evidence(0.25), ()), tmp_path, baseline=earlier).markdown.read_text("utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith("| TASK answer"))
    assert row.endswith(" 500 ms |")
    assert "The baseline is the load load-20261127-000000-000000." in text
    assert "baseline" not in (before / "summary.md").read_text("utf-8")
