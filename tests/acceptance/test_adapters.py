"""Adapters as their authors use them: the command line, their own processes, and nothing left of a killed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Eventually
from tests.support.servers import require_package
from tests.support.small_adapter import write_small_adapter

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]
SCENARIO = "tests.support.adapter_scenarios:"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "harness", *map(str, arguments)]


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=140, check=False
    )


def verdicts(target: str | Path, report: Path) -> tuple[dict[str, Any], dict[str, str]]:
    done = harness(
        "chaos", "run", f"{SCENARIO}AIMED_KILLS", "--target", target, "--tasks", "20", "--seed", "1",
        "--report", report, "--json",
    )  # fmt: skip
    assert done.stdout.startswith("{"), done.stderr
    [run] = json.loads(done.stdout)["scenarios"]
    return run, {name: result["verdict"] for name, result in run["checkers"].items()}


def test_rq_runs_in_its_own_environment_and_keeps_its_promises(tmp_path: Path) -> None:
    run, found = verdicts("rq", tmp_path / "report")
    assert run["verdict"] == "VALID", run
    assert run["target_version"].split(".")[0] == "3"
    assert {name for name, verdict in found.items() if verdict == "VALID"} >= {"delivery", "queue", "faults"}
    assert {name for name, verdict in found.items() if verdict == "NOT ASKED"} >= {"fencing", "transitions"}


def test_an_adapter_that_promises_to_survive_kills_is_valid(tmp_path: Path) -> None:
    file = write_small_adapter(tmp_path / "files")
    promises = (
        '[promises]\nsurvives = ["worker-killed"]\nrecovers_within = 10\nqueue = true\nrecords = true\n'
    )
    file.write_text(file.read_text("utf-8") + "\n" + promises, "utf-8")
    run, found = verdicts(file, tmp_path / "report")
    assert run["verdict"] == "VALID", run
    assert (found["delivery"], found["recovery"]) == ("VALID", "VALID")


@pytest.mark.parametrize(
    ("profile", "said"), [("dies", "ended with code 7"), ("words", "It has to be a value with `task`")]
)
def test_a_client_that_does_not_work_is_unknown_and_named_and_accuses_no_queue(
    tmp_path: Path, profile: str, said: str
) -> None:
    file = write_small_adapter(tmp_path / "files")
    run, found = verdicts(f"{file}@{profile}", tmp_path / "report")
    assert run["verdict"] == "UNKNOWN"
    assert said in run["error"]
    assert "INVALID" not in found.values()


def test_nothing_of_a_run_is_left_after_sigkill_of_the_harness(
    tmp_path: Path, eventually: Eventually
) -> None:
    file = write_small_adapter(tmp_path / "files")
    arguments = ("chaos", "run", f"{SCENARIO}LONG", "--target", file, "--tasks", "60")
    report = tmp_path / "report"
    process = subprocess.Popen(
        command(*arguments, "--report", report), cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def parts() -> set[str]:
        found = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        return {Path(word).name for words in found for word in words[1:2] if word.startswith(str(tmp_path))}

    try:
        eventually(lambda: any(report.glob("history/long/worker-*.jsonl")), deadline=60)
        eventually(lambda: parts() == {"pool.py", "client.py"}, deadline=60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        eventually(lambda: not parts(), deadline=30)
    finally:
        process.kill()
        process.wait()


def test_a_new_adapter_works_as_it_is_written_and_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "my-queue"
    assert harness("target", "new", folder).returncode == 0
    assert {path.name for path in folder.iterdir()} == {"adapter.toml", "client.py", "pool.py"}
    assert "NAME" not in "".join(path.read_text("utf-8") for path in folder.iterdir())
    again = harness("target", "new", folder)
    assert (again.returncode, again.stderr) == (
        64, f"harness: {folder} exists. Choose another name, or remove it.\n"
    )  # fmt: skip
    checked = harness("target", "check", folder, "--report", tmp_path / "report")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "every part works" in checked.stdout


def test_a_check_of_an_adapter_that_does_not_work_fails_with_the_reason(tmp_path: Path) -> None:
    file = write_small_adapter(tmp_path / "files")
    checked = harness("target", "check", f"{file}@dies", "--report", tmp_path / "report")
    assert checked.returncode == 1
    assert (
        "wrong  submit    A mistake of the adapter: the client of the adapter files@dies, in the call"
        in checked.stdout
    )
    again = harness("target", "check", file, "--report", tmp_path / "report")
    assert (again.returncode, "has the history of another run" in again.stderr) == (64, True)


def test_the_list_of_targets_has_the_shipped_ones(tmp_path: Path) -> None:
    listed = json.loads(harness("target", "list", "--json").stdout)["targets"]
    assert {"agentexec", "rq"} <= {target["name"] for target in listed}
    assert harness("target", "new", tmp_path / "My Queue").returncode == 64


def test_an_adapter_in_javascript_works_without_the_worker_kit(tmp_path: Path) -> None:
    require_package("nodejs", installed=shutil.which("node") is not None)
    folder = ROOT / "tests" / "data" / "node_adapter"
    checked = harness("target", "check", folder, "--report", tmp_path / "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    run, found = verdicts(folder, tmp_path / "report")
    assert run["verdict"] == "VALID", run
    assert run["target_version"].startswith("v")
    assert [found[name] for name in ("delivery", "recovery", "queue")] == ["VALID"] * 3
