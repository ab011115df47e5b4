"""verdict.json and junit.xml for programs, the table for terminals, and the folder they go to."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.errors import UsageError
from harness.history.promises import Quote
from harness.report import prepare_folder, verdict_table, write_reports
from harness.report.folder import write_whole
from harness.report.junit import junit_xml
from harness.report.verdict_json import verdict_json
from tests.support.report_samples import empty_run, invalid_run, kill_history, run_of, unknown_run, valid_run

WHEN = "2026-01-02T03:04:05+00:00"
SECRET = "redis://:hunter2@127.0.0.1:6379/0"


def test_all_three_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    paths = write_reports([valid_run()], folder)
    assert {paths.html, paths.json, paths.junit} == set(folder.iterdir())
    assert [paths.html.name, paths.json.name, paths.junit.name] == [
        "report.html",
        "verdict.json",
        "junit.xml",
    ]


def test_writing_again_replaces_what_was_there(tmp_path: Path) -> None:
    write_reports([valid_run()], tmp_path)
    paths = write_reports([invalid_run()], tmp_path)
    assert json.loads(paths.json.read_text())["verdict"] == "INVALID"


def test_a_folder_that_cannot_be_made_is_a_usage_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for refused in (lambda f: prepare_folder(f), lambda f: write_reports([valid_run()], f)):
        with pytest.raises(
            UsageError, match=r"^The report folder .*/file/reports cannot be .* --report DIR\.$"
        ) as caught:
            refused(tmp_path / "file" / "reports")
        assert caught.value.exit_code == 64


def test_a_file_where_the_folder_should_be_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written to"):
        prepare_folder(tmp_path / "file")


def test_preparing_a_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    assert list(prepare_folder(tmp_path / "new").iterdir()) == []


def test_the_json_has_everything_in_the_same_order_every_time() -> None:
    run = invalid_run()
    text = verdict_json([run, valid_run()], written_at=WHEN)
    assert text == verdict_json([run, valid_run()], written_at=WHEN)
    document = json.loads(text)
    assert list(document)[:5] == ["schema", "schema_version", "verdict", "exit_code", "summary"]
    assert (document["schema_version"], document["verdict"], document["exit_code"]) == (1, "INVALID", 1)
    first, second = document["scenarios"]
    assert (first["seed"], first["repeat"], first["target"]) == (run.seed, run.repeat, "planted-pop")
    assert first["figures"]["lost"] == 12
    assert (second["verdict"], second["exit_code"], second["figures"]["recovery_p99"]) == ("VALID", 0, 0.412)
    members = first["checkers"]["delivery"]["counterexamples"]
    assert members == [dict(member) for member in run.results["delivery"].counterexamples]


def test_the_json_lists_each_fault_with_the_tasks_that_it_cut_off() -> None:
    (scenario,) = json.loads(verdict_json([invalid_run()], written_at=WHEN))["scenarios"]
    assert [fault["name"] for fault in scenario["faults"]] == ["kill-worker"] * 3
    cut = [one for fault in scenario["faults"] for one in fault["recovered"]]
    assert len(cut) == 12
    assert {one["seconds"] for one in cut} == {None}


def test_the_json_is_strict_json_without_secrets() -> None:
    odd = CheckResult(
        verdict=Verdict.UNKNOWN,
        summary=SECRET,
        figures={"nan": float("nan"), "inf": float("inf")},
        counterexamples=({"error": ValueError(SECRET), "at": float("-inf")},),
    )
    history, _ = kill_history(tasks=5, kills=1)
    text = verdict_json([run_of(history, results={"odd": odd}, error=SECRET, repeat=SECRET)], written_at=WHEN)
    assert "hunter2" not in text
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["scenarios"][0]["checkers"]["odd"]["figures"] == {"nan": None, "inf": None}


def test_junit_has_a_suite_per_scenario_and_a_case_per_checker() -> None:
    root = ElementTree.fromstring(junit_xml([valid_run(), invalid_run(), unknown_run()], written_at=WHEN))
    assert [suite.get("name") for suite in root] == [
        "kill-worker-mid-task",
        "kill-worker-mid-task",
        "sigterm-drain",
    ]
    assert [(s.get("tests"), s.get("failures"), s.get("errors")) for s in root] == [
        ("3", "0", "0"),
        ("3", "1", "0"),
        ("5", "0", "2"),
    ]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("11", "1", "2")
    (failure,) = root.iter("failure")
    assert failure.get("message", "").startswith("12 of 200 acknowledged tasks were lost")
    assert "task 48, lost: acknowledged and never completed\n    The client submitted it at +0." in (
        failure.text or ""
    )
    assert "kill-worker (fault 1) killed the worker" in (failure.text or "")
    assert "--seed 424242" in (failure.text or "")
    assert [case.get("name") for case in root[2].iter("testcase") if case.find("error") is not None] == [
        "shutdown",
        "run",
    ]


def test_junit_says_what_happened_to_a_task_once_though_two_checkers_name_it() -> None:
    run = invalid_run()
    members = run.results["delivery"].counterexamples
    again = CheckResult(verdict=Verdict.UNKNOWN, summary="no record", counterexamples=members)
    text = junit_xml([replace(run, results={**run.results, "witnesses": again})], written_at=WHEN)
    assert text.count("task 48, lost: acknowledged and never completed") == 2
    assert text.count("activity a00048") == 1
    assert text.count("(what happened to it: see above)") == len(members)


def test_junit_quotes_a_broken_promise_and_skips_what_is_not_asked() -> None:
    results = {
        "delivery": CheckResult(
            verdict=Verdict.INVALID,
            summary="1 lost",
            promise=Quote(sentence="Tasks survive.", address="https://example.org/x"),
        ),
        "fencing": CheckResult(verdict=Verdict.NOT_ASKED, summary="no fences are promised"),
    }
    root = ElementTree.fromstring(junit_xml([valid_run(results=results)], written_at=WHEN))
    assert 'promised: "Tasks survive." (https://example.org/x)' in (root[0][1][0].text or "")
    assert root[0].get("skipped") == "1"


def test_a_run_without_any_checker_is_an_error_in_junit() -> None:
    root = ElementTree.fromstring(junit_xml([empty_run()], written_at=WHEN))
    assert root.get("errors") == "1"


def test_junit_stays_valid_xml_and_keeps_no_secret() -> None:
    bad = CheckResult(
        verdict=Verdict.INVALID,
        summary=f"\x00\x1b[31m]]>&< \ud800 {SECRET}",
        counterexamples=({"x": f"\x08{SECRET}"},),
    )
    history, _ = kill_history(tasks=5, kills=1)
    text = junit_xml(
        [run_of(history, results={"b\x07ad": bad}, repeat=SECRET, error=SECRET)], written_at=WHEN
    )
    text.encode("utf-8")
    assert "hunter2" not in text
    assert "redis://:***@" in (ElementTree.fromstring(text).find(".//failure").text or "")  # type: ignore[union-attr]  # there is one


def test_the_table_has_a_line_per_scenario_and_names_what_went_wrong() -> None:
    lines = verdict_table([valid_run(), invalid_run(), unknown_run()]).splitlines()
    cells = [re.split(r"\s{2,}", line) for line in lines]
    assert cells[0] == [
        "scenario",
        "verdict",
        "tasks",
        "faults/kills",
        "lost",
        "stuck",
        "dup.",
        "illegal",
        "recovery p50/p99",
        "seconds",
    ]
    assert cells[2] == [
        "kill-worker-mid-task",
        "VALID",
        "200",
        "4/4",
        "0",
        "0",
        "2",
        "0",
        "210 ms / 412 ms",
        "11.4",
    ]
    assert cells[3][:5] == ["kill-worker-mid-task", "INVALID", "200", "3/3", "12"]
    assert "INVALID kill-worker-mid-task, delivery: 12 of 200 acknowledged tasks were lost" in lines
    assert lines[-1] == "verdict: INVALID"
    assert "hunter2" not in "\n".join(lines)


def test_the_table_is_plain_unless_colour_is_asked_for() -> None:
    assert "\x1b" not in verdict_table([invalid_run()])
    assert "\x1b[1;31mINVALID\x1b[0m" in verdict_table([invalid_run()], colour=True)


def test_unrequested_figures_are_a_dash_and_no_run_is_unknown() -> None:
    assert re.search(r"nothing +UNKNOWN +0 +0/0 +— +— +— +— +— +11\.4", verdict_table([empty_run()]))
    assert verdict_table([]).endswith("verdict: UNKNOWN")


def test_a_pipe_or_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As root, `--html /dev/full` replaced the device of the machine by a file."""
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        write_whole(pipe, "a page")
        assert os.read(reader, 100) == b"a page"
    finally:
        os.close(reader)
    # A link, so that a fault of the harness replaces the link and not the device.
    (full := tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(UsageError, match="No space left on device"):
        write_whole(full, "a page")
    assert full.is_char_device()
