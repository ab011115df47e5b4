"""The page of a load: what it shows, and that nothing in it can run as code."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checkers.base import Verdict
from harness.cli import main
from harness.errors import UsageError
from harness.load.document import load_document
from harness.load.files import LoadCourse, read_load, write_load
from harness.load.load_time import MOST_COLUMNS, LoadTime, bucket_quantile
from harness.load.page import load_html, stages_within
from harness.load.schedule import LoadSchedule
from harness.load.series import LoadSeries
from harness.load.stages import hold, steps
from harness.load.verdict import LoadVerdict, judge
from harness.report.index import read_reports
from tests.support.load_samples import FAULT, sample

THRESHOLDS = {"TASK answer": "p50 < 1s, p95 < 1ms", "ALL": "rate > 50%, deadlocks = 0"}


@pytest.fixture(scope="module")
def load() -> tuple[LoadVerdict, LoadTime]:
    evidence, time = sample(1500, steps(20, 20, every="5s"))
    return judge(evidence, THRESHOLDS), time


def page(load: tuple[LoadVerdict, LoadTime], **options: dict[str, object]) -> str:
    verdict, time = load
    return load_html(load_document(verdict, written_at="2026-11-27T00:00:00+00:00"), time, **options)


def test_the_page_shows_all_parts_of_a_load(load: tuple[LoadVerdict, LoadTime]) -> None:
    html = page(load)
    for part in (
        "breached",
        "TASK answer",
        "p95 &lt; 1ms",
        "the row has no deadlocks",
        "1 freeze-redis",
        "Load over time",
        "queue depth",
        "Latencies over time",
        "never",
        "Latency by offered rate",
        "hold 40/s for 5s",
        "activity-999",
        "load-20261127",
        "wait p99",
        "Resources over time",
        "CPU worker 1",
        "max 600 kB/s",
        "not measurable: they run &lt;elsewhere&gt;",
        "relation &lt;x&gt; does not exist",
        "not measurable: no access",
    ):
        assert part in html, part


def test_resources_are_in_the_verdict_and_in_its_summary(
    load: tuple[LoadVerdict, LoadTime], tmp_path: Path
) -> None:
    paths = write_load(load[0], tmp_path)
    document = json.loads(paths.json.read_text())
    found = {one["name"]: one for one in document["resources"]}
    wal = found["Postgres WAL"]
    assert (wal["unit"], wal["per_task"], wal["why"]) == ("bytes/s", 4000, "")
    assert 500_000 <= wal["mean"] <= wal["max"] <= 600_000
    assert (found["workers CPU"]["max"], found["workers CPU"]["why"]) == (None, "they run <elsewhere>")
    assert [log["count"] for log in document["logs"]] == [2, None]
    text = paths.markdown.read_text()
    assert "| Postgres WAL | 5" in text
    assert "- workers CPU: not measurable, they run &lt;elsewhere&gt;" in text
    assert "- errors in the log of postgres: 2, such as: relation &lt;x&gt; does not exist" in text


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(load: tuple[LoadVerdict, LoadTime]) -> None:
    verdict, time = load
    evil = replace(verdict, evidence=replace(verdict.evidence, facts={"run": "<script>alert(1)</script>"}))
    html = page((evil, time))
    assert "default-src 'none'" in html.replace("&#39;", "'")
    assert "<script" not in html
    assert not re.search(r'(src|href)="(?!#)', html)


def test_a_baseline_is_shown_beside_this_run(load: tuple[LoadVerdict, LoadTime], tmp_path: Path) -> None:
    paths = write_load(load[0], tmp_path / "before")
    earlier = json.loads(paths.json.read_text())
    earlier["rows"]["TASK answer"]["latency"]["p99"] = 77.0
    assert "77.0 s" in page(load, baseline=earlier)
    assert "p99 of the baseline" not in page(load)


def test_the_files_of_a_load_with_a_course(load: tuple[LoadVerdict, LoadTime], tmp_path: Path) -> None:
    series = LoadSeries()
    series.count(1, "due")
    schedule = LoadSchedule(stages=hold(1))
    course = LoadCourse(series=series, stages=stages_within(schedule.placed(), 5), faults=[FAULT])
    before = write_load(load[0], tmp_path).json
    paths = write_load(load[0], tmp_path, course=course, baseline=before)
    assert paths.html is not None
    assert "baseline" in paths.html.read_text()
    assert LoadSeries.from_value(json.loads((tmp_path / "series.json").read_text())).slices.keys() == {1}


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "agentexec-harness/verdict"}', None])
def test_what_is_no_load_is_no_baseline(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"name the verdict\.json"):
        read_load(path)


def test_a_long_run_is_drawn_in_few_slices() -> None:
    series = LoadSeries()
    for second in range(0, 7200, 10):
        series.count(second, "due")
        series.latency(second, 0.001 * second)
    time = LoadTime.of(series, 7200)
    assert time.columns <= MOST_COLUMNS
    assert sum(time.rate("due")) * time.width == 720
    assert time.within(0, 7200).counts["due"] == 720
    assert bucket_quantile({}, 0.5) is None


def test_a_load_without_a_task_has_a_page_too() -> None:
    evidence, _ = sample(0, hold(1, 1))
    html = page((judge(evidence, {}), LoadTime.of(LoadSeries(), 0)))
    assert "no arrival was due" in html
    assert "Latencies over time" not in html


def test_two_loads_are_compared_by_threshold(
    load: tuple[LoadVerdict, LoadTime], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write_load(judge(load[0].evidence, {"ALL": "lost < 10"}), tmp_path / "before").json
    after = write_load(
        judge(load[0].evidence, {"ALL": "lost < 10", "TASK title": "p50 < 1ms"}), tmp_path / "after"
    ).json
    assert main(["report", "compare", str(before), str(before)]) == 0
    assert main(["report", "compare", str(before), str(after.parent)]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"Day +VALID +INVALID +WORSE\n +TASK title: p50 < 1ms +absent +INVALID +changed", shown)
    reports, unreadable = read_reports(tmp_path)
    assert ({report.verdict for report in reports}, unreadable) == ({Verdict.VALID, Verdict.INVALID}, [])


def test_a_load_is_not_compared_with_a_scenario(
    load: tuple[LoadVerdict, LoadTime], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_load(load[0], tmp_path).json
    other = tmp_path / "other.json"
    other.write_text('{"schema": "agentexec-harness/verdict", "scenarios": []}')
    assert main(["report", "compare", str(path), str(other)]) == 64
    assert "give two of the same kind" in capsys.readouterr().err
