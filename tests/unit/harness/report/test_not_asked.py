"""Wherever a verdict is shown, VALID says what it leaves open if delivery was not asked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.checkers.asked import ASKED, left_out
from harness.checkers.base import Verdict
from harness.cli.main import main
from harness.cli.verdict_lines import verdict_line
from harness.history.promises import Loss, Promises
from harness.report import verdict_table, write_reports
from harness.report.junit import junit_xml
from harness.report.markdown import markdown
from harness.report.write import write_index
from harness.scenario import ScenarioRun
from tests.support.histories import HistoryBuilder
from tests.support.report_samples import invalid_run, kill_history, run_of, valid_run

NOTE = "VALID (delivery not asked: 3 lost, 1 stuck)"


def unasked_run() -> ScenarioRun:
    results = dict(valid_run().results)
    found = results["delivery"]
    figures = {**found.figures, "lost": 3, "stuck": 1}
    results["delivery"] = replace(found, verdict=Verdict.NOT_ASKED, figures=figures)
    return run_of(kill_history(tasks=3, kills=1)[0], results=results)


def text_of(page: Path) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.read_text("utf-8"))).split())


def test_the_lines_and_the_table_say_it() -> None:
    run = unasked_run()
    assert f"{run.scenario}: {NOTE}, " in verdict_line(run)
    table = verdict_table([run])
    assert table.endswith(f"verdict: {NOTE}")
    assert table.count(NOTE) == 2
    assert f"\x1b[32m{NOTE}\x1b[0m" in verdict_table([run], colour=True)


def test_markdown_and_junit_say_it() -> None:
    text = markdown([unasked_run()])
    assert text.startswith(f"## ✅ {NOTE}\n")
    assert f"| ✅ {NOTE} |" in text
    assert "nothing lost" not in text
    suite = ElementTree.fromstring(junit_xml([unasked_run()], written_at="2026-01-02T03:04:05+00:00"))
    assert [one.get("value") for one in suite.iter("property") if one.get("name") == "verdict"] == [NOTE]


def test_the_page_the_index_and_the_json_say_it(tmp_path: Path) -> None:
    paths = write_reports([unasked_run()], tmp_path / "a")
    assert text_of(paths.html).count(NOTE) >= 3
    document = json.loads(paths.json.read_text("utf-8"))
    assert document["verdict_note"] == document["scenarios"][0]["verdict_note"] == NOTE[7:-1]
    assert "delivery not asked: 3 lost, 1 stuck." in document["summary"]
    write_index(tmp_path)
    assert text_of(tmp_path / "index.html").count(NOTE) >= 2


@pytest.mark.parametrize(
    ("number", "count"), [(1, "1 scenario is left out"), (2, "2 scenarios are left out")]
)
def test_what_was_left_out_is_counted(tmp_path: Path, number: int, count: str) -> None:
    skipped = replace(valid_run(), skipped=True, results={ASKED: left_out("needs what is not there")})
    paths = write_reports([valid_run(), *[skipped] * number], tmp_path)
    assert f" {count}; the results say why." in json.loads(paths.json.read_text("utf-8"))["summary"]


def test_several_scenarios_say_in_how_many() -> None:
    table = verdict_table([valid_run(), unasked_run(), unasked_run()])
    assert table.endswith("VALID (delivery not asked in 2 of 3 scenarios: 6 lost, 2 stuck)")


def test_a_verdict_that_is_not_valid_has_no_note() -> None:
    assert verdict_table([invalid_run(), unasked_run()]).endswith("verdict: INVALID")
    assert "not asked" not in verdict_table([valid_run()])


def test_a_check_of_a_history_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = (
        HistoryBuilder().promised(Promises(duplicates=True)).enqueued(1, 2).ran(1, by=10).began(2, by=11)
    )
    builder.injected("stall-redis", loss=Loss.BROKER_FROZEN, service="redis").exited().at(30).drained()
    history = tmp_path / "history.jsonl"
    history.write_text("".join(f"{op.to_json()}\n" for op in builder.operations))
    assert main(["check", str(history), "--scenario", "stall-redis"]) == 0
    assert capsys.readouterr().out.endswith("verdict: VALID (delivery not asked: 1 lost)\n")
