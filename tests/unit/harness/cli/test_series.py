"""Several scenarios in one call: verdicts as they come, an early stop, a time limit, and what an interruption keeps."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import cli
from harness.cli import series
from harness.cli.verdict_lines import annotation, show_verdict, verdict_line
from harness.command_line import Terminated
from harness.errors import EnvironmentUnavailable
from harness.report import claimed_folder
from harness.report.markdown import markdown
from harness.run.runner import RunOptions
from harness.scenario import Scenario, ScenarioRun
from tests.support.report_samples import invalid_run, unknown_run, valid_run

NAMES = ("kill-worker-mid-task", "kill-pool", "sigterm-drain")


@dataclass
class Runs:
    """Replaces servers and runs: the outcome of each scenario by its name, VALID for any other."""

    outcomes: dict[str, Callable[[], ScenarioRun]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    timeouts: dict[str, float | None] = field(default_factory=dict)
    servers: int = 0
    topologies: list[Any] = field(default_factory=list)

    def run(
        self,
        scenario: Scenario,
        _environment: Any,
        _target: Any,
        options: RunOptions,
        *,
        history_folder: Path,
        **_: Any,
    ) -> ScenarioRun:
        self.begun.append(scenario.name)
        self.timeouts[scenario.name] = options.timeout
        made = self.outcomes.get(scenario.name, valid_run)()
        return replace(made, scenario=scenario.name, history_path=history_folder)

    @contextmanager
    def environment(self, _options: Any, _target: Any, topology: Any) -> Iterator[None]:
        self.servers += 1
        self.topologies.append(topology)
        yield


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(series, "run_scenario", found.run)
    monkeypatch.setattr(series, "environment_of", found.environment)
    return found


def raises(error: BaseException) -> Callable[[], ScenarioRun]:
    def run() -> ScenarioRun:
        raise error

    return run


def chaos_run(folder: Path, *options: str | Path) -> int:
    return cli.main(["chaos", "run", *NAMES, "--seed", "1", "--report", str(folder), *map(str, options)])


def verdicts(folder: Path) -> dict[str, str]:
    document = json.loads((folder / "verdict.json").read_text())
    return {one["scenario"]: one["verdict"] for one in document["scenarios"]}


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (KeyboardInterrupt(), 130, "the run was interrupted"),
        (Terminated(), 143, "the run was interrupted"),
        (EnvironmentUnavailable("Redis is gone. Start it."), 2, "Redis is gone. Start it"),
        (RuntimeError("a bug"), 2, "RuntimeError: a bug"),
    ],
)
def test_the_verdicts_before_an_interruption_are_printed_and_reported(
    error: BaseException, code: int, why: str, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.outcomes = {"kill-worker-mid-task": invalid_run, "kill-pool": raises(error)}
    summary = tmp_path / "summary.md"
    assert chaos_run(tmp_path / "report", "--markdown", summary) == code
    assert verdicts(tmp_path / "report") == {
        "kill-worker-mid-task": "INVALID",
        "kill-pool": "UNKNOWN",
        "sigterm-drain": "UNKNOWN",
    }
    said = capsys.readouterr()
    assert f"UNKNOWN kill-pool: stopped half way: {why}" in said.out
    assert f"UNKNOWN sigterm-drain: not run: {why}" in said.out
    assert "INVALID kill-worker-mid-task, delivery:" in said.out
    assert "not run: " in summary.read_text()
    suites = ElementTree.parse(tmp_path / "report" / "junit.xml").getroot()
    assert [suite.get("name") for suite in suites] == list(NAMES)
    assert (tmp_path / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (EnvironmentUnavailable("Redis is gone. Start it."), 2)]
)
def test_a_verdict_outlives_an_interruption_of_its_shrinking(
    error: BaseException, code: int, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = iter([invalid_run, raises(error)])
    runs.outcomes = {"kill-worker-mid-task": lambda: next(tries)()}
    assert chaos_run(tmp_path / "report", "--shrink") == code
    assert runs.begun == ["kill-worker-mid-task"] * 2
    assert verdicts(tmp_path / "report")["kill-worker-mid-task"] == "INVALID"
    assert "INVALID kill-worker-mid-task, delivery:" in capsys.readouterr().out


def test_scenarios_of_one_topology_share_their_servers(runs: Runs, tmp_path: Path) -> None:
    given = ["kill-pool", "sigterm-drain", "fail-over-redis", "fail-over-postgres"]
    assert cli.main(["chaos", "run", *given, "--seed", "1", "--report", str(tmp_path / "report")]) == 0
    assert runs.begun == given
    assert runs.topologies == [None, "redis-sentinel", "postgres-standby"]


def test_no_servers_are_started_for_scenarios_that_do_not_run(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = {"kill-pool": invalid_run}
    given = ["kill-pool", "fail-over-redis", "-x", "--seed", "1", "--report", str(tmp_path / "report")]
    assert cli.main(["chaos", "run", *given]) == 1
    assert runs.topologies == [None]
    assert verdicts(tmp_path / "report") == {"kill-pool": "INVALID", "fail-over-redis": "UNKNOWN"}


def test_a_failure_before_the_first_scenario_is_one_sentence_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(series, "environment_of", raises_environment)
    assert chaos_run(tmp_path) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == "harness: No Redis. Install it."


def raises_environment(_options: Any, _target: Any, _topology: Any) -> Any:
    raise EnvironmentUnavailable("No Redis. Install it.")


def test_a_line_is_printed_when_a_scenario_ends_before_the_next_begins(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    def second() -> ScenarioRun:
        printed.append(capsys.readouterr().out)
        return valid_run()

    runs.outcomes = {"kill-pool": second}
    assert chaos_run(tmp_path) == 0
    [line] = printed[0].splitlines()
    assert line.startswith("kill-worker-mid-task: VALID, 200 tasks, 4 faults, ")
    assert "\x1b" not in line


def test_with_json_the_lines_go_to_stderr(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chaos_run(tmp_path, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == "VALID"
    assert sum(": VALID, 200 tasks, " in line for line in said.err.splitlines()) == 3


@pytest.mark.parametrize(("bad", "code"), [(invalid_run, 1), (unknown_run, 2)])
def test_x_stops_at_the_first_scenario_that_is_not_valid(
    bad: Callable[[], ScenarioRun], code: int, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.outcomes = {"kill-pool": bad}
    assert chaos_run(tmp_path, "-x") == code
    assert runs.begun == ["kill-worker-mid-task", "kill-pool"]
    assert verdicts(tmp_path)["sigterm-drain"] == "UNKNOWN"
    assert "sigterm-drain: not run: kill-pool was" in capsys.readouterr().out


def test_x_runs_everything_that_is_valid(runs: Runs, tmp_path: Path) -> None:
    assert chaos_run(tmp_path, "-x") == 0
    assert runs.begun == list(NAMES)


def test_a_scenario_that_cannot_end_in_time_is_not_begun_and_makes_the_whole_unknown(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def takes_90_seconds() -> ScenarioRun:
        clock[0] += 90.0
        return valid_run()

    runs.outcomes = {"kill-worker-mid-task": takes_90_seconds}
    assert chaos_run(tmp_path, "--max-seconds", "95") == 2
    assert runs.begun == ["kill-worker-mid-task"]
    assert "UNKNOWN kill-pool: not run: it takes " in capsys.readouterr().out
    assert set(verdicts(tmp_path).values()) == {"VALID", "UNKNOWN"}


def test_a_scenario_that_has_begun_ends_at_the_limit(runs: Runs, tmp_path: Path) -> None:
    assert chaos_run(tmp_path, "--max-seconds", "40") == 0
    limit = runs.timeouts["sigterm-drain"]
    assert limit is not None
    assert limit <= 40.0


def test_no_server_is_started_if_nothing_can_end_in_time(runs: Runs, tmp_path: Path) -> None:
    assert chaos_run(tmp_path, "--max-seconds", "0.5") == 2
    assert runs.servers == 0
    assert set(verdicts(tmp_path).values()) == {"UNKNOWN"}


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_limit_that_is_no_time_is_refused(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chaos_run(tmp_path, f"--max-seconds={given}") == 64
    assert "is not a number above 0" in capsys.readouterr().err


def test_github_gets_a_summary_and_an_annotation_for_each_scenario_that_is_not_valid(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "step.md"
    summary.write_text("# another step\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    runs.outcomes = {"kill-pool": invalid_run}
    assert chaos_run(tmp_path / "report") == 1
    [command] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    assert command.startswith("::error title=kill-pool%3A INVALID::delivery: ")
    text = summary.read_text()
    assert text.startswith("# another step\n## ❌ INVALID\n")
    assert "| kill-pool | ❌ INVALID |" in text


def test_github_gets_an_annotation_for_what_was_not_run(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    runs.outcomes = {"kill-pool": raises(KeyboardInterrupt())}
    assert chaos_run(tmp_path) == 130
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::error ")]
    assert [command.partition("::")[2].partition("::")[2][:12] for command in commands] == [
        *("stopped half", "not run: the")
    ]


def test_a_summary_that_cannot_be_written_changes_no_verdict(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/dev/full")
    assert chaos_run(tmp_path) == 0
    assert "The summary /dev/full cannot be written (No space left on device)" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["", "{folder}", "{folder}/file/summary.md"])
def test_a_markdown_file_that_cannot_be_written_is_refused_before_anything_starts(
    where: str, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert chaos_run(tmp_path / "report", "--markdown", where.format(folder=tmp_path)) == 64
    assert runs.begun == []
    assert "Traceback" not in capsys.readouterr().err


def test_an_annotation_is_one_command_whatever_the_text() -> None:
    run = replace(invalid_run(), scenario="a,b:c%\n::error::x", error="50 % done\r\n::set-output name=x::y")
    command = annotation(run)
    assert "\n" not in command
    assert "\r" not in command
    assert command.startswith("::error title=a%2Cb%3Ac%25%0A%3A%3Aerror%3A%3Ax%3A INVALID::")
    assert "50 %25 done ::set-output" in command


def test_markdown_shows_text_and_no_markup() -> None:
    hostile = "<img src=x>|*bold*`code`[link](x) @user #1 redis://:hunter2@h\n# heading"
    run = replace(invalid_run(), scenario=hostile, error=hostile, repeat="harness ```\n# x")
    text = markdown([run])
    assert "<img" not in text
    assert "hunter2" not in text
    assert r"\|\*bold\*\`code\`\[link\](x) \@user \#1 redis://:***".replace("***", r"\*\*\*") in text
    assert "\n# heading" not in text
    assert "````console\nharness ``` # x\n````" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(line.replace(r"\|", "").split("|")) for line in table} == {13}


def test_markdown_names_lost_tasks_and_the_command() -> None:
    run = invalid_run()
    text = markdown([valid_run(), run])
    [first, *_] = run.results["delivery"].counterexamples
    assert f"task {first['task']}: lost" in text
    assert run.repeat in text


class Full(io.StringIO):
    """A stream to a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_printed_stops_no_run() -> None:
    show_verdict(valid_run(), Full())
    assert verdict_line(unknown_run()).startswith("sigterm-drain: UNKNOWN, ")
    out = io.StringIO()
    show_verdict(valid_run(), out)
    assert out.getvalue().count("\n") == 1


def test_a_second_run_into_the_same_folder_is_refused_in_one_sentence(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with claimed_folder(tmp_path):
        assert chaos_run(tmp_path) == 64
        (tmp_path / "link").symlink_to(tmp_path)
        assert chaos_run(tmp_path / "link") == 64
    refusals = capsys.readouterr().err.splitlines()
    assert all("Another run is writing into the report folder" in line for line in refusals)
    assert len(refusals) == 2
    assert runs.begun == []
    assert chaos_run(tmp_path) == 0, "the lock ends with its run"


def test_the_lock_ends_with_its_process(runs: Runs, tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib, subprocess\n"
        "from harness.report import claimed_folder\n"
        "with claimed_folder(pathlib.Path(sys.argv[1])):\n"
        "    child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert chaos_run(tmp_path) == 64
            process.kill()
            process.wait()
            assert chaos_run(tmp_path) == 0, "its child still runs, and has no part of the lock"
        finally:
            os.kill(child, 9)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_reports_and_history_of_an_earlier_run_do_not_outlast_the_next(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chaos_run(tmp_path) == 0
    old = tmp_path / "history" / "kill-pool" / "worker-1.jsonl"
    old.write_text("{}\n")
    assert chaos_run(tmp_path) == 0
    assert not old.exists()
    monkeypatch.setattr(series, "environment_of", raises_environment)
    assert chaos_run(tmp_path) == 2
    assert not (tmp_path / "verdict.json").exists(), "an old verdict is not that of a run that broke down"


def test_two_runs_of_one_second_and_seed_have_folders_of_their_own(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert cli.main(["chaos", "run", *NAMES, "--seed", "1"]) == 0
    assert len(list((tmp_path / "reports").glob("*/verdict.json"))) == 3
