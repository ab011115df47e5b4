"""index.html beside the report folders: verdicts over time, and what is flaky."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from harness.checkers.base import Verdict
from harness.cli.main import main
from harness.report import write_reports
from harness.report.index import all_series, read_reports
from harness.report.write import update_index, write_index
from harness.scenario import ScenarioRun
from tests.support.report_samples import invalid_run, kill_history, run_of, valid_run


def run(verdict: Verdict = Verdict.VALID, **more: str) -> ScenarioRun:
    history, _ = kill_history(tasks=3, kills=1)
    results = (valid_run() if verdict is Verdict.VALID else invalid_run()).results
    error = "broke down" if verdict is Verdict.UNKNOWN else None
    return run_of(history, results=valid_run().results if error else results, error=error, **more)


def report(folder: Path, name: str, *runs: ScenarioRun, day: int) -> Path:
    paths = write_reports(runs, folder / name)
    document = json.loads(paths.json.read_text())
    paths.json.write_text(json.dumps({**document, "written_at": f"2026-01-{day:02d}T03:04:05+00:00"}))
    return paths.json


def text_of(page: Path) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.read_text("utf-8").split("<body>")[1])).split())


def test_a_run_updates_the_index_of_the_default_folder_and_of_one_that_has_an_index(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_reports([run()], elsewhere / "a")
    assert not (elsewhere / "index.html").exists()  # a folder of the user gets no file without being asked
    write_reports([run()], tmp_path / "reports" / "a")
    assert "1 run, the newest of" in text_of(tmp_path / "reports" / "index.html")
    write_index(elsewhere)
    write_reports([run()], elsewhere / "b")
    assert "2 runs, the newest of" in text_of(elsewhere / "index.html")


def test_a_page_of_another_program_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    write_reports([run()], folder / "a")
    assert (folder / "index.html").read_text() == "mine"
    assert main(["report", "index", str(folder)]) == 64
    assert "is not an index of reports; move it away" in capsys.readouterr().err


def test_a_scenario_is_flaky_if_one_version_reached_different_verdicts(tmp_path: Path) -> None:
    verdicts = [Verdict.VALID, Verdict.INVALID, Verdict.VALID]
    for day, verdict in enumerate(verdicts, start=1):
        report(
            tmp_path,
            f"r{day}",
            run(verdict, scenario="flaky"),
            run(verdict, scenario="changed", target_version=str(day)),
            run(verdict, scenario="two-targets", target="rq" if verdict is Verdict.VALID else "arq"),
            run(scenario="steady"),
            day=day,
        )
    reports, unreadable = read_reports(tmp_path)
    assert [one.name for one in reports] == ["r3", "r2", "r1"]
    assert unreadable == []
    found = {(one.scenario, one.target): one for one in all_series(reports)}
    assert found["flaky", "agentexec"].flaky == "0.1.0: 2 VALID, 1 INVALID"
    assert [one.verdict for one in found["flaky", "agentexec"].runs] == verdicts
    steady = [pair for pair, one in found.items() if one.flaky is None]
    assert sorted(steady) == [
        ("changed", "agentexec"),
        ("steady", "agentexec"),
        ("two-targets", "arq"),
        ("two-targets", "rq"),
    ]
    page = write_index(tmp_path)
    assert text_of(page).count("flaky flaky") == 1
    marks = re.findall(r'<a href="(r\d/report.html)" class="(\w+)"><title>', page.read_text("utf-8"))
    assert ("r2/report.html", "invalid") in marks
    assert len(marks) == 12


def test_what_is_not_valid_now_stands_first(tmp_path: Path) -> None:
    for day, second in ((1, Verdict.INVALID), (2, Verdict.UNKNOWN)):
        report(tmp_path, f"r{day}", run(scenario="a"), run(second, scenario="z"), day=day)
    assert [one.scenario for one in all_series(read_reports(tmp_path)[0])] == ["z", "a"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": "other"}', '{"schema": "agentexec-harness/verdict"}', "\x00"]
)
def test_a_verdict_that_cannot_be_read_is_named_and_left_out(tmp_path: Path, text: str) -> None:
    report(tmp_path, "good", run(), day=1)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "verdict.json").write_text(text)
    assert "Not readable, and left out: bad." in text_of(write_index(tmp_path))


def test_a_folder_without_reports_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert main(["report", "index", str(folder)]) == 64
        assert "name a folder of report folders" in capsys.readouterr().err
    assert update_index(tmp_path) is None


def test_the_index_loads_nothing_and_no_string_becomes_markup(tmp_path: Path) -> None:
    report(tmp_path, 'a "b" #?', run(scenario="<script>x</script>", target='"><img src=x>'), day=1)
    html = write_index(tmp_path).read_text("utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="a%20%22b%22%20%23%3F/report.html"' in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html


def test_the_command_prints_the_path_of_the_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path, "a", run(), day=1)
    assert main(["report", "index", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"
