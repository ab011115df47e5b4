"""The main job, as a release engineer runs it: the command line, real servers, real kills, and the verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis

import chaos
from harness.environments import make_environment
from harness.history import History, OperationType

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]
PLANTED = "tests.planted.destructive_pop.target:TARGET"
NO_FAULTS = "tests.planted.no_faults:SCENARIO"
SEED = "20261124"
TASKS = 120


def harness(*arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# `nox -s chaos` runs whole scenarios. Here they are short ones with kills of each kind, to look into what a run leaves.
@pytest.mark.parametrize("name", ["kill-pool", "kill-worker-locked", "sigterm-drain"])
def test_agentexec_survives(name: str, tmp_path: Path) -> None:
    done = harness("chaos", "run", name, "--seed", SEED, "--tasks", TASKS, "--report", tmp_path, "--json")
    [run] = document(done)["scenarios"]
    assert (done.returncode, run["verdict"]) == (0, "VALID"), done.stderr
    figures = run["figures"]
    assert (figures["lost"], figures["illegal"]) == (0, 0)
    assert figures["tasks"] == TASKS
    assert figures["faults"] == len(chaos.SCENARIOS[name].faults)
    seen = {checker: found["figures"] for checker, found in run["checkers"].items()}
    accepted = seen["delivery"]["acknowledged"]
    assert accepted >= 100
    assert seen["effects"]["effects"] >= accepted
    assert seen["progress"]["reports"] >= 2 * accepted, "each handler reports twice"
    if name == "kill-worker-locked":
        assert seen["locks"]["locked_tasks"] >= 0.3 * TASKS, "half of them have a lock key"
        assert seen["priorities"]["wait_low_p50"] is not None
    page = (tmp_path / "report.html").read_text("utf-8")
    for log in ("pool-1.log", "postgres.log", "redis.log"):
        assert (tmp_path / "history" / name / log).stat().st_size > 0
        assert f'<a href="history/{name}/{log}">{log}</a>' in page
    assert "no time that can be compared" not in page


def test_a_queue_that_pops_destructively_is_invalid_and_its_lost_tasks_are_named(tmp_path: Path) -> None:
    # A lost task is waited for as long as its lease and more.
    words = ("--seed", SEED, "--tasks", TASKS, "--patience", 5, "--report", tmp_path)
    done = harness("chaos", "run", "kill-worker-mid-task", "--target", PLANTED, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    history = History.load(tmp_path / "history" / "kill-worker-mid-task")
    acknowledged = {op.value["task"] for op in history.where("enqueue", OperationType.OK)}
    complete = {op.value["task"] for op in history.where("record") if op.value["status"] == "complete"}
    lost = sorted(acknowledged - complete)
    assert len(lost) >= 5, "each of the aimed kills loses the task at its gate at least"
    named = ", ".join(map(str, lost))
    assert f"kill-worker-mid-task, delivery: lost {named}\n" in done.stdout
    assert "verdict: INVALID" in done.stdout
    again = harness(
        "check", tmp_path / "history" / "kill-worker-mid-task", "--scenario", "kill-worker-mid-task"
    )
    assert again.returncode == 1


def test_the_same_queue_without_kills_has_no_breach_and_is_unknown(tmp_path: Path) -> None:
    words = ("--tasks", TASKS // 2, "--report", tmp_path, "--json")
    done = harness("chaos", "run", NO_FAULTS, "--target", PLANTED, *words)
    [run] = document(done)["scenarios"]
    assert done.returncode == 2
    assert run["verdict"] == "UNKNOWN"
    verdicts = {name: checker["verdict"] for name, checker in run["checkers"].items()}
    assert verdicts.pop("faults") == "UNKNOWN"
    assert verdicts.pop("steady") == "NOT ASKED", "there is nothing before and after no fault"
    assert set(verdicts.values()) == {"VALID"}, run["checkers"]


@pytest.fixture
def running(tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[subprocess.Popen[str]]:
    """A chaos run whose first fault has been injected, and whose next pool has come up."""
    arguments = ["chaos", "run", "kill-pool", "--target", PLANTED, "--report", str(tmp_path)]
    command = [sys.executable, "-m", "harness", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "fault 1 of 5" in line:
                break
        eventually(lambda: processes_of(tmp_path), deadline=30.0)
        yield process
        process.kill()


def processes_of(report: Path) -> list[int]:
    """The processes that record below this report folder."""
    found = []
    for process in psutil.process_iter():
        try:
            recorded = process.environ().get("HARNESS_HISTORY", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if recorded.startswith(str(report)):
            found.append(process.pid)
    return found


def test_ctrl_c_stops_everything_and_reports_it_in_one_line(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.splitlines()[-1] == "harness: interrupted by SIGINT; all its processes are stopped."
    assert "Traceback" not in said
    assert processes_of(tmp_path) == []


def test_ctrl_c_in_the_second_scenario_keeps_the_verdict_of_the_first(tmp_path: Path) -> None:
    words = [NO_FAULTS, "kill-pool", "--target", PLANTED, "--tasks", "60", "--report", str(tmp_path)]
    command = [sys.executable, "-m", "harness", "chaos", "run", *words]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "fault 1 of 5" in line:
                break
        os.kill(process.pid, signal.SIGINT)
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.splitlines()[-1] == "harness: interrupted by SIGINT; all its processes are stopped."
    found = json.loads((tmp_path / "verdict.json").read_text())
    first, second = found["scenarios"]
    assert first["checkers"]["delivery"]["verdict"] == "VALID"
    assert (second["scenario"], second["verdict"]) == ("kill-pool", "UNKNOWN")
    assert "stopped half way: the run was interrupted" in second["error"]
    assert said.startswith(f"{first['scenario']}: UNKNOWN, 60 tasks, "), "the line of the first scenario"
    assert processes_of(tmp_path) == []
    again = harness("check", tmp_path / "history" / "kill-pool", "--scenario", "kill-pool")
    assert again.returncode == 2, "a history that was cut short shows no loss"


def test_sigkill_of_the_runner_leaves_no_pool_behind(
    running: subprocess.Popen[str], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    eventually(lambda: processes_of(tmp_path) == [], deadline=30.0)


def test_external_servers_are_left_as_they_were(tmp_path: Path) -> None:
    with make_environment("embedded") as servers:
        urls = servers.endpoints
        words = ("--database-url", urls.database_url, "--redis-url", urls.redis_url, "--tasks", TASKS // 2)
        command = ("chaos", "run", NO_FAULTS, "--backend", "external", "--report", tmp_path, "--json")
        done = harness(*command, *words)
        [run] = document(done)["scenarios"]
        assert run["checkers"]["delivery"]["verdict"] == "VALID", done.stderr
        with psycopg.connect(urls.database_url) as connection:
            tables = connection.execute("SELECT to_regclass('agentexec_activity')::text").fetchone()
        with redis.Redis.from_url(urls.redis_url) as client:
            keys = client.keys("*")
    assert tables == (None,)
    assert keys == []
    password = urlsplit(urls.database_url).password
    assert not password or password not in done.stdout + done.stderr
