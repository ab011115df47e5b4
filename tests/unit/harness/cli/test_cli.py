"""The command line: its messages and exit codes, for every kind of wrong request."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import chaos
from harness import cli
from harness.cli import chaos as chaos_command
from harness.errors import EnvironmentUnavailable, UsageError
from harness.history import OperationType, Recorder
from harness.report import locked_folder
from harness.simulation.campaign import Campaign

STAGING = "postgresql://release:hunter2@db.example.org/staging"
REDIS = "redis://:hunter2@redis.example.org/0"


@pytest.fixture(autouse=True)
def _no_urls_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATABASE_URL", raising=False)
    monkeypatch.delenv("HARNESS_REDIS_URL", raising=False)


EXTERNAL = ["--backend", "external", "--database-url", STAGING, "--redis-url", REDIS]

SCHEDULE = str(next((Path(__file__).parents[3] / "simulation" / "schedules").glob("*.json")))
WRONG = {
    "nothing at all": ([], "The following arguments are required: COMMAND"),
    "an unknown command": (["dance"], "invalid choice: 'dance'"),
    "no action": (["chaos"], "ACTION"),
    "no scenario": (["chaos", "run"], "No scenario is named. Name one or more of kill-worker-mid-task"),
    "an unknown scenario": (["chaos", "run", "kill-pol"], "Did you mean kill-pool?"),
    "names and --all": (
        ["chaos", "run", "kill-pool", "--all"],
        "names and --all each choose scenarios. Give one",
    ),
    "--all and --tag": (["chaos", "run", "--all", "--tag", "smoke"], "--all and --tag each choose scenarios"),
    "an unknown tag": (
        ["chaos", "run", "--tag", "smok"],
        "No scenario has the tag 'smok'. Choose from release, ",
    ),
    "an unknown option": (["chaos", "run", "kill-pool", "--sede", "3"], "nrecognized arguments: --sede 3"),
    "a seed that is no number": (["chaos", "run", "kill-pool", "--seed", "x"], "'x' is not a whole number"),
    "no tasks": (["chaos", "run", "kill-pool", "--tasks", "0"], "'0' is not a whole number of 1 or more"),
    "negative tasks": (["chaos", "run", "kill-pool", "--tasks", "-5"], "'-5' is not a whole number"),
    "endlessly many tasks": (["chaos", "run", "kill-pool", "--tasks", "9" * 5000], "with at most 15 digits"),
    "more tasks than can be drawn": (["chaos", "run", "kill-pool", "--tasks", "9" * 15], "Give --tasks"),
    "tasks that are no number": (["chaos", "run", "kill-pool", "--tasks", "many"], "'many' is not a whole"),
    "no rate": (["chaos", "run", "kill-pool", "--rate", "0"], "'0' is not a number above 0, at most 10,000"),
    "a rate of next to nothing": (
        ["chaos", "run", "kill-pool", "--rate", "1e-320"],
        "'1e-320' is less than 1e-06",
    ),
    "an endless rate": (["chaos", "run", "kill-pool", "--rate", "9" * 400], f"'{'9' * 40}' is not a number"),
    "an endless fault": (
        ["chaos", "run", "kill-pool", "--faults", "9" * 5000],
        f"'{'9' * 40}' is no list of",
    ),
    "a rate that is no number": (["chaos", "run", "kill-pool", "--rate", "fast"], "'fast' is not a number"),
    "a rate beyond all machines": (["chaos", "run", "kill-pool", "--rate", "inf"], "'inf' is not a number"),
    "no time": (["chaos", "run", "kill-pool", "--timeout", "-3"], "'-3' is not a number above 0"),
    "time that is not a number": (["chaos", "run", "kill-pool", "--timeout", "nan"], "'nan' is not a number"),
    "more tasks than time": (
        ["chaos", "run", "kill-pool", "--tasks", "5000"],
        "with 5000 tasks at 20 a second, and its time-out is 60 s. Give --timeout",
    ),
    "too few tasks": (["chaos", "run", "kill-pool", "--tasks", "3"], "3 tasks are too few for the 5 faults"),
    "an unknown backend": (["chaos", "run", "kill-pool", "--backend", "cloud"], "invalid choice: 'cloud'"),
    "an unknown target": (["chaos", "run", "kill-pool", "--target", "x"], "There is no target 'x'"),
    "an unknown workload": (["chaos", "run", "kill-pool", "--workload", "x"], "There is no workload 'x'"),
    "a target that is none": (["chaos", "run", "kill-pool", "--target", "json:dumps"], "is not a target"),
    "an option of another backend": (
        ["chaos", "run", "kill-pool", "--redis-url", REDIS],
        "--redis-url has no meaning with --backend embedded",
    ),
    "external without URLs": (["chaos", "run", "kill-pool", "--backend", "external"], "HARNESS_DATABASE_URL"),
    "external with --all": (["chaos", "run", "--all", *EXTERNAL], "Name each scenario that you want to run"),
    "external and not allowed": (
        ["chaos", "run", "kill-pool", *EXTERNAL],
        "add --allow-destructive staging",
    ),
    "external and whole servers": (
        ["chaos", "run", "kill-pool", "flush-redis", *EXTERNAL, "--allow-destructive", "staging"],
        "flush-redis would freeze or empty whole servers",
    ),
    "external and another database allowed": (
        ["chaos", "run", "kill-pool", *EXTERNAL, "--allow-destructive", "production"],
        "add --allow-destructive staging",
    ),
    "a patience of nothing": (
        ["chaos", "run", "kill-pool", "--patience", "0"],
        "not a number above 0",
    ),
    "a patience in words": (
        ["chaos", "run", "kill-pool", "--patience", "long"],
        "not a number above 0",
    ),
    "a history that is not there": (
        ["check", "/nowhere", "--scenario", "kill-pool"],
        "no history at /nowhere",
    ),
    "a report folder without a name": (["chaos", "run", "kill-pool", "--report", ""], "'' names no file"),
    "a report folder of spaces": (["chaos", "run", "kill-pool", "--report= "], "' ' names no file"),
    "a Postgres without a path": (["chaos", "run", "kill-pool", "--postgres-bin", ""], "'' names no file"),
    "a simulation into no folder": (["simulate", "--seeds", "1", "--report", ""], "'' names no file"),
    "a simulation into no page": (["simulate", "--seed", "1", "--html", ""], "'' names no file"),
    "a history without a path": (["check", "", "--scenario", "kill-pool"], "'' names no file"),
    "a check without a scenario": (["check", "/nowhere"], "no history at /nowhere"),
    "a history with too long a name": (["check", "x" * 300], "cannot be read: File name too long"),
    "a history below a file": (["check", f"{__file__}/x"], "no history at"),
    "a name of two lines": (["check", "--export", "two\nlines"], "two lines cannot be read: No such file"),
    "a page in place of the history": (["check", __file__, "--html", __file__], "would replace what"),
    "a history in place of the schedule": (
        ["simulate", "--replay", SCHEDULE, "--history", SCHEDULE],
        f"--history {SCHEDULE} would replace what",
    ),
    "a simulated history on no disk": (
        ["simulate", "--seed", "1", "--history", "/proc/x/y"],
        "/proc/x/y cannot",
    ),
    "simulated pages in a file": (["simulate", "--seed", "1", "--html", __file__], "cannot be written to"),
    "a campaign into a file": (["simulate", "--seeds", "1", "--report", __file__], "cannot be written to"),
    "a bounded search into a file": (["simulate", "--bounded", "--report", __file__], "cannot be written to"),
    "more processes than a machine starts": (
        ["simulate", "--bounded", "--jobs", "9" * 15],
        "999999999999999 processes at a time are too many; give at most 256",
    ),
    "a replay of nothing": (["chaos", "replay", ""], "'' names no file"),
    "a seed of a fraction": (["simulate", "--seed", "1.5"], "'1.5' is not a whole number of at most 40"),
    "an endless seed": (["simulate", "--seed", "9" * 5000], f"'{'9' * 40}' is not a whole number of at most"),
    "a simulation on another database": (
        ["simulate", "--seed", "1", "--postgres", "mysql://u:hunter2@h/x"],
        "--postgres is no postgres URL: it does not begin with postgresql://",
    ),
}


@pytest.mark.parametrize(("arguments", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_is_one_sentence_and_exit_code_64(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 64
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.startswith("harness: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert "hunter2" not in said.err


def test_urls_come_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_DATABASE_URL", STAGING)
    monkeypatch.setenv("HARNESS_REDIS_URL", REDIS)
    assert cli.main(["chaos", "run", "kill-pool", "--backend", "external"]) == 64
    assert "--allow-destructive staging" in capsys.readouterr().err


def test_a_report_folder_that_cannot_be_written_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "report")
    target = "tests.planted.destructive_pop.target:TARGET"
    assert cli.main(["chaos", "run", "kill-pool", "--report", folder, "--target", target]) == 64
    said = capsys.readouterr()
    assert "cannot be written to" in said.err
    assert "--report DIR" in said.err
    assert "Traceback" not in said.err


def test_servers_that_are_missing_exit_with_2_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable(options: Namespace) -> int:
        raise EnvironmentUnavailable(f"{STAGING} does not answer. Start it.")

    monkeypatch.setattr(chaos_command, "list_scenarios", unavailable)
    assert cli.main(["chaos", "list"]) == 2
    assert (
        capsys.readouterr().err
        == "harness: postgresql://release:***@db.example.org/staging does not answer. Start it.\n"
    )


def test_a_bug_is_a_sentence_and_its_traceback_comes_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: Namespace) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(chaos_command, "list_scenarios", broken)
    assert cli.main(["chaos", "list"]) == 2
    plain = capsys.readouterr().err
    assert plain.startswith("harness: ZeroDivisionError: division by zero. ")
    assert "Traceback" not in plain
    assert cli.main(["chaos", "list", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_a_plain_sentence_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(chaos_command, "list_scenarios", interrupted)
    assert cli.main(["chaos", "list"]) == 130
    said = capsys.readouterr().err
    assert "interrupted by SIGINT" in said
    assert "Traceback" not in said


def test_sigterm_takes_the_way_of_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def terminated(options: Namespace) -> int:
        os.kill(os.getpid(), 15)
        raise AssertionError("SIGTERM was not raised")

    monkeypatch.setattr(chaos_command, "list_scenarios", terminated)
    assert cli.main(["chaos", "list"]) == 143
    assert "interrupted by SIGTERM" in capsys.readouterr().err


def test_the_list_names_every_scenario_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chaos", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, scenario in chaos.SCENARIOS.items():
        assert any(line.startswith(name) and scenario.summary in line for line in lines)


def test_the_list_as_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chaos", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["scenarios"]
    assert {one["name"] for one in listed} >= set(chaos.SCENARIOS)


def test_help_and_version_exit_with_0() -> None:
    for arguments in (["--help"], ["--version"], ["chaos", "run", "--help"]):
        with pytest.raises(SystemExit) as exit_:
            cli.main(arguments)
        assert exit_.value.code == 0


@pytest.mark.parametrize("code", ["", "0", "3", "'no database'"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["chaos", "run", "{0}:SCENARIO"],
        ["chaos", "run", "kill-pool", "--app", "{0}:SHOP"],
        ["chaos", "run", "kill-pool", "--target", "{0}:TARGET"],
        ["target", "check", "{0}:TARGET"],
    ],
)
def test_a_module_that_ends_the_process_has_no_verdict(
    arguments: list[str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ending.py").write_text(f"import sys\n\nsys.exit({code})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main([word.format("ending") for word in arguments]) == 64
    assert "cannot be imported: SystemExit" in capsys.readouterr().err


def test_a_call_that_ends_the_process_later_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.cli.chaos.registry.scenarios", lambda: sys.exit(0))
    assert cli.main(["chaos", "list"]) == 2
    assert "ended with sys.exit(0)" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["chaos", "run", "kill-pool"], ["target", "check", "rq"]])
def test_a_users_package_harness_is_refused_before_any_server_starts(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "harness.py").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main(command) == 64
    assert "harness.py in the current folder hides the package harness" in capsys.readouterr().err


def test_a_pipe_that_is_closed_early_makes_no_noise() -> None:
    command = [sys.executable, "-m", "harness", "chaos", "list"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.stderr == b""


@pytest.mark.parametrize("full", ["stdout", "stderr"])
def test_an_output_without_space_is_a_sentence_and_no_bug(full: str) -> None:
    command = [sys.executable, "-m", "harness", "chaos", "list"]
    with Path("/dev/full").open("wb") as out:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {full: out.fileno()}
        done = subprocess.run(command, **streams, text=True, timeout=60, check=False)  # type: ignore[call-overload]
    if full == "stdout":
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert "cannot be written (No space left on device); free some space" in line
    else:
        assert done.returncode == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_a_file_is_named_with_a_remedy(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_options: Namespace) -> int:
        raise OSError(number, os.strerror(number), "/data/client.jsonl")

    monkeypatch.setattr(chaos_command, "list_scenarios", refused)
    assert cli.main(["chaos", "list"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"harness: /data/client.jsonl cannot be written ({os.strerror(number)}); free some"
    )
    assert "bug" not in said


def _history(path: Path, *, complete: bool) -> Path:
    """A recorded run of one task, which is stuck unless `complete`."""
    recorder = Recorder(path, process="client")
    recorder.record(OperationType.INVOKE, "enqueue", task=1)
    recorder.record(OperationType.OK, "enqueue", task=1, activity="a1")
    recorder.close()
    witness = Recorder(path, process="postgres")
    status = "complete" if complete else "running"
    witness.record(OperationType.INFO, "record", task=1, activity="a1", status=status, attempt=1, fence=1)
    witness.close()
    return path


def test_a_saved_history_is_judged_again_and_the_stuck_task_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = _history(tmp_path / "history.jsonl", complete=False)
    assert cli.main(["check", str(history), "--scenario", "kill-pool"]) == 1
    said = capsys.readouterr().out
    assert "INVALID  delivery: 1 acknowledged, 0 lost, 1 stuck" in said
    assert '"task": 1' in said
    assert said.rstrip().endswith("verdict: INVALID")


def test_a_saved_history_of_a_run_that_was_cut_short_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = _history(tmp_path / "history.jsonl", complete=False)
    with closing(Recorder(history, process="runner")) as runner:
        runner.record(OperationType.INVOKE, "phase", phase="the drain")
    assert cli.main(["check", str(history), "--scenario", "kill-pool"]) == 2
    said = capsys.readouterr().out
    assert (
        "UNKNOWN  delivery: 1 acknowledged, 1 unfinished; the unfinished are not judged: the run ended"
        in said
    )


def test_a_saved_history_is_judged_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = _history(tmp_path / "history.jsonl", complete=False)
    with closing(Recorder(history, process="worker-1")) as worker:
        failed = {"task": 1, "activity": "a1", "error": "OSError: no answer from redis://user:hunter2@host/0"}
        worker.record(OperationType.FAIL, "run", **failed)
    with closing(Recorder(history, process="postgres")) as store:
        store.record(OperationType.INFO, "record", task=1, activity="a1", status="error")
    assert cli.main(["check", str(history), "--scenario", "kill-pool", "--json"]) == 1
    said = capsys.readouterr().out
    document = json.loads(said)
    assert document["verdict"] == "INVALID"
    [example] = document["checkers"]["delivery"]["counterexamples"]
    assert example["task"] == 1
    assert "OSError: no answer from redis://user:***@host/0" in example["why"]
    assert "hunter2" not in said


def test_a_history_that_is_judged_again_has_a_page_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history, page = _history(tmp_path / "history.jsonl", complete=False), tmp_path / "new" / "page.html"
    command = ["check", str(history), "--scenario", "kill-pool"]
    assert cli.main([*command, "--html", str(page)]) == 1
    assert capsys.readouterr().out.endswith(f"report:  {page}\n")
    html = page.read_text("utf-8")
    assert "<title>INVALID" in html
    assert "killed the worker" in html or "It did not start again." in html or "It never started." in html
    assert "not recorded" in html  # a history does not say on which servers it was made
    assert f"harness {' '.join(command)}" in html


def test_the_page_of_a_history_in_a_report_has_the_facts_of_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "history" / "kill-pool"
    folder.mkdir(parents=True)
    _history(folder / "client.jsonl", complete=True)
    known = {
        "scenario": "kill-pool",
        "target": "rq",
        "target_version": "2.1",
        "seed": 77,
        "repeat": "harness x",
    }
    document = {"schema": "agentexec-harness/verdict", "scenarios": [{"scenario": "other"}, known]}
    (tmp_path / "verdict.json").write_text(json.dumps(document))
    page = tmp_path / "again.html"
    cli.main(["check", str(folder), "--scenario", "kill-pool", "--html", str(page)])
    html = page.read_text("utf-8")
    assert "<dd>rq 2.1</dd>" in html
    assert "<dd>77</dd>" in html
    assert "<code>harness x</code>" in html
    assert '<a href="history/kill-pool">' in html


def test_the_command_of_a_page_names_the_application_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.check.registry.application", lambda name: object())
    history = _history(tmp_path / "history.jsonl", complete=True)
    page = tmp_path / "again.html"
    cli.main(["check", str(history), "--scenario", "kill-pool", "--app", "shop:SHOP", "--html", str(page)])
    assert f"check {history} --scenario kill-pool --app shop:SHOP</code>" in page.read_text("utf-8")


def test_a_check_of_a_report_folder_names_the_histories_below_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("kill-pool", "lose-reply"):
        (tmp_path / "history" / name).mkdir(parents=True)
    assert cli.main(["check", str(tmp_path), "--scenario", "kill-pool"]) == 64
    assert f"Name a history below it: {tmp_path}/history/NAME, with NAME of kill-pool, lose-reply." in (
        capsys.readouterr().err
    )


def test_a_history_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder" / "x.jsonl").mkdir(parents=True)
    packed = tmp_path / "history.jsonl.gz"
    packed.write_bytes(gzip.compress(b"{}"))
    for path, words in (
        (tmp_path / "folder", "folder/x.jsonl cannot be read: Is a directory. Name a .jsonl file"),
        (packed, "is compressed. Unpack it with gzip -d."),
    ):
        assert cli.main(["check", str(path)]) == 64
        assert words in capsys.readouterr().err


def test_a_finding_outlives_a_disk_that_takes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, text: str) -> None:
        raise UsageError(f"The report {path} cannot be written (No space left on device); free some space.")

    plan = SimpleNamespace(seed=1, tasks=(), faults=())
    found = SimpleNamespace(checker="delivery", summary="1 lost", counterexamples=())
    outcome = SimpleNamespace(plan=plan, findings=[found], injected=0)
    monkeypatch.setattr("harness.simulation.simulation.simulate", lambda *_, **__: outcome)
    monkeypatch.setattr("harness.cli.simulate.write_text", full)
    plan.to_json = dict
    assert cli.main(["simulate", "--seed", "1", "--no-shrink", "--report", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "delivery: 1 lost" in said.out
    assert f"The report {tmp_path}/seed-1.json cannot be written" in said.err
    campaign = Campaign(runs=1, failing={1: ["delivery"]})
    monkeypatch.setattr("harness.simulation.campaign.run_campaign", lambda *_, **__: campaign)
    assert cli.main(["simulate", "--seeds", "1", "--no-shrink", "--report", str(tmp_path)]) == 1
    assert f"harness: The report {tmp_path}/campaign.json cannot be written" in capsys.readouterr().err


def test_a_second_campaign_into_the_same_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_folder(tmp_path):
        for command in (["simulate", "--seeds", "1"], ["simulate", "--bounded", "plain"]):
            assert cli.main([*command, "--report", str(tmp_path)]) == 64
            assert "Another run is writing into the report folder" in capsys.readouterr().err


def test_a_page_takes_no_place_of_a_file_of_the_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = _history(tmp_path / "client.jsonl", complete=True)
    before = history.read_bytes()
    for given in (history, tmp_path):
        assert cli.main(["check", str(given), "--html", str(tmp_path / "." / "client.jsonl")]) == 64
        assert f"would replace what {given} holds. Name another file." in capsys.readouterr().err
    assert history.read_bytes() == before
    assert cli.main(["check", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 2
    assert cli.main(["check", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 2


def test_a_name_that_is_no_text_has_a_page(tmp_path: Path) -> None:
    history = _history(tmp_path / os.fsdecode(b"\xff.jsonl"), complete=True)
    page = tmp_path / "page.html"
    assert cli.main(["check", str(history), "--html", str(page)]) in (0, 2)
    assert '<a href="%FF.jsonl">' in page.read_text("utf-8")


def test_a_page_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = _history(tmp_path / "history.jsonl", complete=True)
    monkeypatch.chdir(tmp_path)
    for page in (str(tmp_path), ".", "..", "/"):
        assert cli.main(["check", str(history), "--scenario", "kill-pool", "--html", page]) == 64
        assert "(Is a directory); free some space or name another file with --html" in capsys.readouterr().err
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))


def test_an_empty_history_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert cli.main(["check", str(tmp_path / "empty.jsonl"), "--scenario", "kill-pool"]) == 2
    assert capsys.readouterr().out.rstrip().endswith("verdict: UNKNOWN")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda text: text[:-20], "history.jsonl:3 is cut off: its writer ended while writing it"),
        (lambda text: text.replace(b'"f":"record"', b'"f":"rec\xff', 1), "history.jsonl:3 is not JSON"),
        (
            lambda text: text.replace(b'"type":"ok"', b'"type":"fine"', 1),
            "history.jsonl:2 has the unknown type",
        ),
        (lambda text: b"\x00" * 64 + b"\n" + text, "history.jsonl:1 is not JSON"),
        (lambda text: text.replace(b"\n", b"", 1), "history.jsonl:1 is not JSON"),
        (lambda text: b"[" * 100_000 + b"\n" + text, "history.jsonl:1 is nested too deep to be read"),
        (lambda text: b"", "history.jsonl holds no operation"),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_truncated_garbled_or_empty_history_is_unknown_and_its_line_is_named(
    damage: Callable[[bytes], bytes],
    fault: str,
    complete: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = _history(tmp_path / "history.jsonl", complete=complete)
    history.write_bytes(damage(history.read_bytes()))
    assert cli.main(["check", str(history), "--scenario", "kill-pool"]) == 2
    said = capsys.readouterr().out
    assert fault in said
    assert said.rstrip().endswith("verdict: UNKNOWN")
