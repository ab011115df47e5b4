"""`harness report compare` with two verdict.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.cli.main import main
from harness.report import write_reports
from harness.scenario import ScenarioRun
from tests.support.report_samples import invalid_run, unknown_run, valid_run


def compared(folder: Path, before: list[ScenarioRun], after: list[ScenarioRun]) -> int:
    paths = [write_reports(runs, folder / name).json for name, runs in (("before", before), ("after", after))]
    return main(["report", "compare", *map(str, paths)])


def test_a_verdict_that_became_worse_is_named_with_its_checker_and_its_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, [valid_run(target="planted-pop")], [invalid_run()]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        "scenario before after change",
        "kill-worker-mid-task VALID INVALID WORSE",
        "delivery VALID INVALID WORSE",
    ]
    assert "kill-worker-mid-task: lost 0 -> 12" in lines
    assert "kill-worker-mid-task: counterexamples only in the second: task 48, 60, 65," in " ".join(lines)
    assert not [line for line in lines if line.startswith(("transitions", "recovery"))]


def test_a_verdict_that_became_better_or_stayed_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, [invalid_run(), unknown_run()], [valid_run(), unknown_run()]) == 0
    out = capsys.readouterr().out
    assert "better" in out
    assert "target planted-pop -> agentexec" in out


def test_unknown_is_worse_than_valid_and_better_than_invalid(tmp_path: Path) -> None:
    valid, unknown = valid_run(), valid_run(error="broke down")
    assert compared(tmp_path, [valid], [unknown]) == 1
    assert compared(tmp_path, [invalid_run()], [unknown]) == 0


def test_a_checker_that_is_no_longer_asked_is_shown_and_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = valid_run()
    not_asked = CheckResult(verdict=Verdict.NOT_ASKED, summary="not promised")
    after = replace(run, results={**run.results, "transitions": not_asked})
    assert compared(tmp_path, [run], [after]) == 0
    assert "transitions VALID NOT ASKED changed" in " ".join(capsys.readouterr().out.split())


def test_scenarios_and_checkers_that_only_one_run_has_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = valid_run(results={})
    assert compared(tmp_path, [valid_run(scenario="gone")], [valid_run(scenario="new")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "gone VALID absent changed" in out
    assert "new absent VALID changed" in out
    compared(tmp_path, [valid_run()], [fewer])
    assert "delivery VALID absent changed" in " ".join(capsys.readouterr().out.split())


def test_two_runs_of_one_scenario_are_compared_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, [valid_run(), valid_run()], [valid_run(), invalid_run()]) == 1
    assert "kill-worker-mid-task (2)  VALID      INVALID    WORSE" in capsys.readouterr().out


def test_report_folders_may_be_given_instead_of_their_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_reports([valid_run()], tmp_path / name)
    assert main(["report", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "same" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ['{"schema": "agentexec-harness/verdict"}', "[]", "{}", "x", None])
def test_a_file_of_another_kind_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str | None
) -> None:
    good, bad = write_reports([valid_run()], tmp_path / "good").json, tmp_path / "bad.json"
    if broken is not None:
        bad.write_text(broken)
    assert main(["report", "compare", str(good), str(bad)]) == 64
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "give two" in sentence or "give the bench.json" in sentence


def test_a_document_with_a_verdict_that_does_not_exist_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_reports([valid_run()], tmp_path / "good").json
    document = json.loads(good.read_text())
    document["scenarios"][0]["verdict"] = "FINE"
    (tmp_path / "odd.json").write_text(json.dumps(document))
    assert main(["report", "compare", str(good), str(tmp_path / "odd.json")]) == 64
    assert "'FINE' is not a valid Verdict" in capsys.readouterr().err


def test_the_text_of_a_document_cannot_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = valid_run(scenario="kill\x1b[2J\rpool", target="a\rb")
    compared(tmp_path, [run], [replace(run, target="c\x07")])
    assert not [one for one in capsys.readouterr().out if ord(one) < 32 and one != "\n"]
