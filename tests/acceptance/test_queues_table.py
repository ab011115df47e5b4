"""The table of queues, as its session runs it: cells on real servers, both pages, and a second call that goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.checkers.base import Verdict
from harness.queues.result import CellResult, read_results

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PLANTED = "tests.planted.destructive_pop.target:TARGET"
CELLS = ["agentexec/worker-killed", f"{PLANTED}/worker-killed"]


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def queues(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return harness(
        "queues",
        "--only",
        *CELLS,
        "--report",
        folder,
        "--document",
        folder / "queues.md",
        "--tasks",
        "24",
        *more,
    )


def results(folder: Path) -> dict[str, CellResult]:
    return {found.cell.target: found for found in read_results(folder)}


def test_a_table_tells_a_queue_that_keeps_its_tasks_from_one_that_loses_them(tmp_path: Path) -> None:
    done = queues(tmp_path)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert found["agentexec"].verdict is Verdict.VALID, found["agentexec"]
    assert found["agentexec"].recovery_p99 is not None
    lossy = found[PLANTED]
    assert lossy.verdict is Verdict.INVALID, lossy
    assert (lossy.lost or 0) + (lossy.stuck or 0) >= 3, "each aimed kill takes one task at least"

    assert (tmp_path / lossy.cell.folder / "report.html").exists()
    page, text = (tmp_path / "index.html").read_text("utf-8"), (tmp_path / "queues.md").read_text("utf-8")
    assert f'href="{lossy.cell.folder}/report.html"' in page
    assert lossy.command in text

    history = tmp_path / lossy.cell.folder / "history" / lossy.cell.scenario
    assert harness("check", history, "--scenario", lossy.cell.scenario).returncode == 1

    again = queues(tmp_path)
    assert again.returncode == 0
    assert "cells," not in again.stderr, "a cell with a result was run again"
    assert results(tmp_path) == found


def test_cells_that_were_not_run_are_named_and_leave_no_verdict(tmp_path: Path) -> None:
    done = queues(tmp_path, "--no-run")
    assert done.returncode == 2
    assert "2 cells have no result; run the same command again." in done.stdout
    assert "not run" in (tmp_path / "queues.md").read_text("utf-8")


def test_a_cell_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = harness("queues", "--only", "agentexec/sigkill", "--report", tmp_path)
    assert done.returncode == 64
    assert "There is no loss 'sigkill' in the table. Known: worker-killed" in done.stderr
