"""Every invariant has tests, and each of them fails when the invariant is broken on purpose."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.breaks import BREAKS, INVARIANTS, Break
from tests.support.broken_copy import run_broken

ROOT = Path(__file__).resolve().parents[4]
TABLE = ROOT / "docs" / "reference" / "invariants.md"
IDS = [f"{each.invariant}-{number}" for number, each in enumerate(BREAKS)]


def marked() -> Iterator[tuple[str, str]]:
    """Every mark as (file::function, invariant)."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "mark.invariant(" not in (text := path.read_text("utf-8")):
            continue  # each pytest process collects this module, and parsing all files takes 2 s
        for node in ast.walk(ast.parse(text)):
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
    done = run_broken(broken, tmp_path, links=True)
    said = done.stdout + done.stderr
    assert re.search(r"^1 failed\b", done.stdout, re.MULTILINE), said
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said


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
