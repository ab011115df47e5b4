"""Every invariant has tests, and each of them fails when the invariant is broken on purpose."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.breaks import BREAKS, INVARIANTS, Break

ROOT = Path(__file__).resolve().parents[4]
TABLE = ROOT / "docs" / "reference" / "invariants.md"
IDS = [f"{each.invariant}-{number}" for number, each in enumerate(BREAKS)]
BESIDE = ("harness", "chaos", "loadtests", "tests", "pyproject.toml")  # what the tests need beside agentexec


def marked() -> Iterator[tuple[str, str]]:
    """Every mark as (file::function, invariant)."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                match mark:
                    case ast.Call(func=ast.Attribute(attr="invariant"), args=names):
                        for name in names:
                            yield f"{path.relative_to(ROOT)}::{node.name}", ast.literal_eval(name)


MARKS = tuple(marked())


def test_all_eleven_invariants_are_named_by_a_test_and_no_other() -> None:
    assert {name for _, name in MARKS} == set(INVARIANTS) == {f"I{n}" for n in range(1, 12)}
    assert {each.invariant for each in BREAKS} == set(INVARIANTS)


@pytest.mark.parametrize("broken", BREAKS, ids=IDS)
def test_the_test_that_has_to_fail_names_the_invariant(broken: Break) -> None:
    assert (broken.test.partition("[")[0], broken.invariant) in MARKS


@pytest.mark.parametrize("broken", BREAKS, ids=IDS)
def test_a_broken_invariant_is_noticed(broken: Break, tmp_path: Path) -> None:
    """The test passes on the true package, or this would prove nothing; the rest of the suite shows that."""
    break_copy(broken, tmp_path)
    for name in BESIDE:
        (tmp_path / name).symlink_to(ROOT / name)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        broken.test,
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert re.search(r"^1 failed\b", done.stdout, re.MULTILINE), said
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said


def break_copy(broken: Break, folder: Path) -> None:
    """A copy of the package with the one change."""
    shutil.copytree(ROOT / "agentexec", folder / "agentexec", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "agentexec" / broken.file
    head, after, body = path.read_text("utf-8").rpartition(broken.after) if broken.after else ("", "", "")
    head, body = (head + after, body) if broken.after else ("", path.read_text("utf-8"))
    assert broken.old in body, f"{broken.file} no longer has {broken.old!r}; break it anew"
    path.write_text(head + body.replace(broken.old, broken.new, 1), "utf-8")


def test_the_documentation_has_every_way_that_they_were_broken() -> None:
    text = TABLE.read_text("utf-8")
    for name, promise in INVARIANTS.items():
        assert f"**{name}**: {promise}" in " ".join(text.split())
    for broken in BREAKS:
        assert row(broken) in text
    assert text.count("\n| I") == len(BREAKS)


def row(broken: Break) -> str:
    """One line of the table."""
    test = broken.test.partition("[")[0].rpartition("::")[2]
    return f"| {broken.invariant} | {broken.what} | `agentexec/{broken.file}` | `{test}` |"
