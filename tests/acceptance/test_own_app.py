"""The README's ten lines: they find the refunds that an unsafe handler books twice, and nothing in a safe one."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.checkers.invariants import completed_tasks
from harness.history import History

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "shop"
BLOCK = re.compile(r"^```python chaos_shop\.py\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ harness (?P<words>chaos run \S+ --app chaos_shop:SHOP.*)$", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def text_of(name: str) -> str:
    [found] = BLOCK.findall(page(name))
    return str(found)


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A server of the user, which no part of the run may reach.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DATABASE_URL": "postgresql://127.0.0.1:1/theirs"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def run_readme(folder: Path, chaos: str, *more: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(EXAMPLE / "shop.py", folder)
    (folder / "chaos_shop.py").write_text(chaos, "utf-8")
    [command] = COMMAND.findall(page("README.md"))
    # A busy machine needs more time for the starts of six pools; the verdict is the same.
    words = [*shlex.split(command), "--seed", "1", "--report", "report", "--timeout", "200", *more]
    return harness(folder, *words)


def booked_twice(history: History) -> list[int]:
    """The numbers of the refunds that are booked twice, read from the history without the checker."""
    [found] = [op.value["found"]["mapping"] for op in history.where("invariant")]
    counts = dict(found)
    return sorted(task.number for task in completed_tasks(history) if counts.get(str(task)) != 1)


def test_the_texts_are_the_files() -> None:
    assert text_of("README.md") == text_of("docs/howto/your-own-app.md")
    assert text_of("README.md") == (EXAMPLE / "chaos_shop.py").read_text("utf-8")
    lines = [line for line in text_of("README.md").splitlines() if line]
    assert len(lines) <= 10


def test_an_unsafe_handler_is_invalid_with_each_refund_that_it_booked_twice(tmp_path: Path) -> None:
    done = run_readme(tmp_path, text_of("README.md"))
    assert done.returncode == 1, done.stdout + done.stderr
    history = History.load(tmp_path / "report" / "history" / "kill-pool")
    broken = booked_twice(history)
    assert len(broken) >= 5, "each kill falls between a booking and its acknowledgement"
    named = ", ".join(map(str, broken))
    assert f"kill-pool, invariant: each refund is booked once: broken {named}\n" in done.stdout
    [found] = json.loads((tmp_path / "report" / "verdict.json").read_text("utf-8"))["scenarios"]
    judged = {name: one["verdict"] for name, one in found["checkers"].items()}
    assert judged.pop("invariant: each refund is booked once") == "INVALID"
    assert set(judged.values()) <= {"VALID", "NOT ASKED"}, judged
    examples = found["checkers"]["invariant: each refund is booked once"]["counterexamples"]
    assert [one["task"] for one in examples] == broken
    assert all(one["operations"].count("started by") >= 2 for one in examples)
    # One kill in a while falls between the end of a handler and its record: that run was not cut off.
    assert sum("hit by kill-pool" in one["operations"] for one in examples) >= 5
    again = ("check", "report/history/kill-pool", "--scenario", "kill-pool")
    assert harness(tmp_path, *again, "--app", "chaos_shop:SHOP").returncode == 1
    assert harness(tmp_path, *again).returncode == 2, (
        "without the application, its invariant cannot be judged"
    )
    (tmp_path / "chaos_shop.py").write_text(text_of("README.md").replace("!= 1", "not in (1, 2, 3)"))
    assert harness(tmp_path, *again, "--app", "chaos_shop:SHOP").returncode == 0, "it is judged by the file"


def test_a_safe_handler_is_valid(tmp_path: Path) -> None:
    safe = text_of("README.md").replace('("refund",', '("refund_once",')
    done = run_readme(tmp_path, safe, "--tasks", "80")
    assert done.returncode == 0, done.stdout + done.stderr
    history = History.load(tmp_path / "report" / "history" / "kill-pool")
    assert (len(completed_tasks(history)), booked_twice(history)) == (80, [])


def test_make_that_fails_is_unknown_with_one_sentence_and_leaves_no_process(tmp_path: Path) -> None:
    done = run_readme(tmp_path, text_of("README.md").replace("cents=100", "cents=n // (n - 3)"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "make(3) raised ZeroDivisionError" in done.stdout
    recorded = [
        process.environ().get("HARNESS_HISTORY", "") for process in psutil.process_iter() if mine(process)
    ]
    assert not [folder for folder in recorded if folder.startswith(str(tmp_path))]


def mine(process: psutil.Process) -> bool:
    try:
        return bool(process.environ())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--app", "shop:pool"], "shop:pool is not an application of harness.testing but a Pool"),
        (["--app", "chaos_shop"], "'chaos_shop' does not name an application"),
        (["--app", "chaos_shop:NONE"], "The module chaos_shop has no NONE"),
        (
            ["--app", "chaos_shop:SHOP", "--target", "agentexec"],
            "--target and --app both name what is tested",
        ),
    ],
)
def test_a_wrong_application_is_wrong_usage(arguments: list[str], sentence: str) -> None:
    done = harness(EXAMPLE, "chaos", "run", "kill-pool", *arguments)
    assert (done.returncode, sentence in done.stderr) == (64, True), done.stderr
