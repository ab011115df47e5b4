"""The command that repeats a run begins as the run was called."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.called import called_as

ROOT = Path(__file__).resolve().parents[4]
GIVEN = ["chaos", "run", "kill-pool"]


@pytest.mark.parametrize(
    ("before", "script", "expected"),
    [
        (["python3.11", "-m", "harness"], "/x/harness/__main__.py", ["python3.11", "-m", "harness"]),
        (
            ["python", "-X", "dev", "-mharness"],
            "/x/harness/__main__.py",
            ["python", "-X", "dev", "-mharness"],
        ),
        (["/v/bin/python", ".venv/bin/harness"], ".venv/bin/harness", [".venv/bin/harness"]),
        (["python3", "tools/chaos.py"], "tools/chaos.py", ["python3", "tools/chaos.py"]),
    ],
)
def test_the_words_before_the_arguments_stay(before: list[str], script: str, expected: list[str]) -> None:
    found = called_as(
        ["chaos", "run"], GIVEN, environment={}, argv=[script, *GIVEN], orig_argv=[*before, *GIVEN]
    )
    assert found == [*expected, "chaos", "run"]


def test_a_script_that_a_shell_finds_is_called_by_its_name(tmp_path: Path) -> None:
    script = tmp_path / "harness"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    words = [str(script), *GIVEN]
    found = called_as(
        ["simulate"], GIVEN, environment={"PATH": str(tmp_path)}, argv=words, orig_argv=["python", *words]
    )
    assert found == ["harness", "simulate"]
    uv = {"PATH": str(tmp_path), "UV_RUN_RECURSION_DEPTH": "1"}
    found = called_as(["simulate"], GIVEN, environment=uv, argv=words, orig_argv=["python", *words])
    assert found == ["uv", "run", "harness", "simulate"]


def test_a_program_that_passes_arguments_of_its_own_is_repeated_by_the_module() -> None:
    argv = ["suite.py", "--fast"]
    found = called_as(["chaos", "run"], GIVEN, environment={}, argv=argv, orig_argv=["python", *argv])
    assert found == [sys.executable, "-m", "harness", "chaos", "run"]


def test_a_wrapper_names_its_own_call() -> None:
    environment = {"HARNESS_REPEAT": "python3 noxfile.py -s chaos --"}
    assert called_as(["chaos", "run"], GIVEN, environment=environment) == [
        *("python3", "noxfile.py", "-s", "chaos", "--")
    ]


@pytest.mark.parametrize("how", ["module", "program"])
def test_the_printed_command_of_a_simulation_runs_from_the_same_folder(how: str, tmp_path: Path) -> None:
    program = tmp_path / "my suite.py"
    program.write_text("import sys\nfrom harness.cli import main\nsys.exit(main())\n")
    called = [sys.executable, *(["-m", "harness"] if how == "module" else [program.name])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("HARNESS_REPEAT", None)
    command = [*called, "simulate", "--seeds", "1", "--first", "7"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("repeat:")]
    printed = line.removeprefix("repeat:").strip()
    assert shlex.split(printed)[: len(called)] == called
    again = subprocess.run(
        printed,
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert line in again.stdout
