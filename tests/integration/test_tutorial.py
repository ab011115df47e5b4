"""docs/tutorial.md: its files and commands give the verdicts that it states."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

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


class Started(NamedTuple):
    """A run that is under way: most of its time is waiting, so two of them run side by side."""

    process: subprocess.Popen[str]

    def end(self) -> tuple[int, str]:
        """Its exit code and all that it wrote."""
        output, _ = self.process.communicate()
        return self.process.returncode, output


def start(folder: Path, *arguments: str) -> Started:
    report = str(folder / f"report-{arguments[0].partition(':')[2]}")
    command = [sys.executable, "-m", "harness", "chaos", "run", *arguments, "--report", report]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return Started(
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
    )


def start_own_queue(folder: Path) -> Started:
    return start(
        folder, "myscenario:KILL_WORKER", "--target", "mytarget:TARGET", "--seed", "1", "--tasks", "60"
    )


def test_the_queue_of_the_tutorial_leaves_tasks_until_it_is_repaired(tmp_path: Path) -> None:
    (repaired := tmp_path / "repaired").mkdir()
    for folder in (tmp_path, repaired):
        write_files(folder)
    apply_repair(repaired)
    runs = [start_own_queue(folder) for folder in (tmp_path, repaired)]
    (code, output), (code_repaired, output_repaired) = [run.end() for run in runs]
    assert code == 1, output
    assert "myqueue-kill-worker, delivery: stuck " in output
    assert code_repaired == 0, output_repaired


def test_the_scenario_of_the_tutorial_is_valid_and_without_faults_unknown(tmp_path: Path) -> None:
    write_files(tmp_path)
    runs = [
        start(tmp_path, f"myscenarios:{name}", "--seed", "1", "--tasks", tasks)
        for name, tasks in (("LONG_TASKS", "40"), ("NO_FAULTS", "20"))
    ]
    (code, output), (code_without, output_without) = [run.end() for run in runs]
    assert code == 0, output
    assert code_without == 2, output_without
    assert "UNKNOWN no-faults, faults: 0 faults injected" in output_without
