"""docs/tutorial.md: its files and commands give the verdicts that it states."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(
    r"^```(?P<kind>python|diff) (?P<file>\w+\.py)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)

pytestmark = pytest.mark.integration


def blocks(kind: str) -> list[tuple[str, str]]:
    """File name and text of each block of this kind, in order."""
    found = BLOCK.finditer(PAGE.read_text("utf-8"))
    return [(block["file"], block["text"]) for block in found if block["kind"] == kind]


def write_files(folder: Path) -> None:
    for name, text in blocks("python"):
        (folder / name).write_text(text, "utf-8")


def apply_repair(folder: Path) -> None:
    for name, diff in blocks("diff"):
        lines = diff.splitlines()
        old = "\n".join(line[1:] for line in lines if line[:1] != "+")
        new = "\n".join(line[1:] for line in lines if line[:1] != "-")
        text = (folder / name).read_text("utf-8")
        assert text.count(old) == 1, f"the repair does not fit {name}:\n{old}"
        (folder / name).write_text(text.replace(old, new), "utf-8")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "harness",
        "chaos",
        "run",
        *arguments,
        "--report",
        str(folder / "report"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def run_own_queue(folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = ("myscenario:KILL_WORKER", "--target", "mytarget:TARGET", "--seed", "1", "--tasks", "60")
    return run(folder, *arguments)


def test_the_queue_of_the_tutorial_leaves_tasks_until_it_is_repaired(tmp_path: Path) -> None:
    write_files(tmp_path)
    first = run_own_queue(tmp_path)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "myqueue-kill-worker, delivery: stuck " in first.stdout
    apply_repair(tmp_path)
    second = run_own_queue(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr


def test_the_scenario_of_the_tutorial_is_valid_and_without_faults_unknown(tmp_path: Path) -> None:
    write_files(tmp_path)
    with_faults = run(tmp_path, "myscenarios:LONG_TASKS", "--seed", "1", "--tasks", "40")
    assert with_faults.returncode == 0, with_faults.stdout + with_faults.stderr
    without = run(tmp_path, "myscenarios:NO_FAULTS", "--seed", "1", "--tasks", "20")
    assert without.returncode == 2, without.stdout + without.stderr
    assert "UNKNOWN no-faults, faults: 0 faults injected" in without.stdout
