"""The load test as CI runs it: real servers, a real pool, Locust, and an exit code that CI can rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.history import History, OperationType
from harness.load.task_log import counted

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "loadtests.run"]


def load(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def breached(folder: Path) -> list[str]:
    document: dict[str, Any] = json.loads((folder / "slo.json").read_text("utf-8"))
    return [line["name"] for line in document["service_levels"] if line["outcome"] == "breached"]


def test_a_smoke_run_meets_its_service_levels_and_leaves_its_reports(
    tmp_path: Path,
) -> None:
    done = load("--duration", "5", "--report", tmp_path, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "slo.json").read_text("utf-8"))
    counts = document["counts"]
    assert counts["acknowledged"] == counts["attempted"] == counts["completed"]
    assert counts["acknowledged"] == pytest.approx(5 * 40, rel=0.2)
    assert document["incomplete"] == []
    latency = document["latency_ms"]
    assert 0 < latency["enqueue"]["p50"] < latency["end_to_end"]["p50"]
    assert latency["end_to_end"]["p50"] > 10, "a task works for at least 10 ms"
    html = (tmp_path / "locust.html").read_text("utf-8")
    assert "ENQUEUE" in html
    assert "TASK" in html
    judged = json.loads((tmp_path / "verdict.json").read_text("utf-8"))
    assert [log["count"] for log in judged["logs"]] == [log["count"] for log in document["logs"]] == [0, 0]
    assert judged["facts"]["slots"] == "16, of 2 workers with 8 each"
    assert "service levels: met" in done.stderr
    assert str(tmp_path / "locust.html") in done.stderr

    history = History.load(tmp_path / "history")
    assert len({op.process for op in history.where("hello")}) == 2, "two workers"
    acknowledged = {op.value["activity"] for op in history.where("enqueue", OperationType.OK)}
    over = {op.value["activity"] for op in history.where("complete") if op.value["status"] == "complete"}
    assert len(acknowledged) == counts["acknowledged"]
    assert acknowledged == over


def test_without_workers_and_with_an_impossible_service_level_both_are_breached_and_the_tasks_named(
    tmp_path: Path,
) -> None:
    levels = ["--slo", "drain_seconds=1", "--slo", "enqueue_p95_ms=0.001"]
    done = load("--duration", "3", "--workers", "0", *levels, "--report", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    wanted = {"enqueue p95", "end-to-end p95", "not COMPLETE 1 s after the end"}
    assert wanted <= set(breached(tmp_path))
    assert "service levels: breached" in done.stdout
    assert "is queued" in done.stdout
    history = History.load(tmp_path / "history")
    acknowledged = {op.value["activity"] for op in history.where("enqueue", OperationType.OK)}
    document = json.loads((tmp_path / "slo.json").read_text("utf-8"))
    assert {task["activity"] for task in document["incomplete"]} == acknowledged


@pytest.fixture
def running(tmp_path: Path, eventually: Callable[..., object]) -> Iterator[subprocess.Popen[bytes]]:
    """A run in the middle of its load."""
    command = [*COMMAND, "--duration", "60", "--report", str(tmp_path)]
    said = tmp_path / "stderr"
    with said.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stderr=out) as process:
        try:
            eventually(lambda: counted(tmp_path / "history", "complete") or process.poll() is not None, 60)
            assert process.returncode is None, said.read_text("utf-8")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name
)
def test_nothing_is_left_when_a_run_is_ended_in_the_middle(
    number: signal.Signals, running: subprocess.Popen[bytes], eventually: Callable[..., object]
) -> None:
    below = psutil.Process(running.pid).children(recursive=True)
    folders = {Path(folder) for child in below if "hx-" in (folder := child.cwd())}
    assert len(below) > 5, "servers, pool, workers and Locust"
    assert folders
    os.kill(running.pid, number)
    assert running.wait(40) == (-number if number is signal.SIGKILL else 128 + number)
    eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in below), 30)
    eventually(lambda: not any(folder.exists() for folder in folders), 30)
