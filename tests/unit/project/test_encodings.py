"""Text files and the output of programs are read and written in UTF-8, whatever the locale is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("agentexec", "chaos", "examples", "harness", "loadtests")
FILES = [ROOT / "noxfile.py", *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
# A method or function with text -> the number of positional arguments among which its encoding is the last.
POSITIONAL = {"read_text": 1, "write_text": 2}


def in_the_locale(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that leave the encoding of text to the locale."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        options = {option.arg: option.value for option in call.keywords}
        if "encoding" in options:
            continue
        if name in POSITIONAL and len(call.args) < POSITIONAL[name]:
            yield call
        if name == "open" and opens_text(call, options):
            yield call
        if any(
            isinstance(value := options.get(o), ast.Constant) and value.value is True
            for o in ("text", "universal_newlines")
        ):
            yield call


def opens_text(call: ast.Call, options: dict[str | None, ast.expr]) -> bool:
    """Whether this is a call of the built-in `open`, or of a method with a mode, for text."""
    modes = call.args[1:2] if isinstance(call.func, ast.Name) else call.args[:1]
    mode = options.get("mode", modes[0] if modes else None)
    if not isinstance(mode, ast.Constant):
        return mode is None and isinstance(call.func, ast.Name)
    return isinstance(mode.value, str) and set(mode.value) <= set("rwxat+")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(x)", True),
        ("path.write_text(x, encoding='utf-8')", False),
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("path.open('w')", True),
        ("path.open('ab')", False),
        ("session.open()", False),
        ("run(command, text=True)", True),
        ("run(command, text=True, encoding='utf-8')", False),
    ],
)
def test_the_search_knows_the_forms(line: str, found: bool) -> None:
    assert bool(list(in_the_locale(ast.parse(line)))) is found


def test_no_text_is_left_to_the_locale() -> None:
    places = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in FILES
        for call in in_the_locale(ast.parse(file.read_text("utf-8")))
    ]
    assert places == []
