"""The adapter of examples/own_queue: the example of docs/reference/protocol.md for a queue that does not ship."""

from __future__ import annotations

import ast
from pathlib import Path

from harness.targets.adapter_file import read_adapter

FOLDER = Path(__file__).parents[4] / "examples" / "own_queue"


def lines_of(path: Path) -> int:
    """How many lines are neither blank nor a comment nor a docstring."""
    text = path.read_text("utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                left_out.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    numbered = enumerate(text.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.startswith("#") and n not in left_out for n, line in numbered)


def test_it_is_an_adapter_in_less_than_60_lines() -> None:
    adapter = read_adapter(FOLDER)
    assert adapter.name == "rrq"
    assert adapter.promises.survives <= adapter.promises.quotes.keys()
    assert sum(lines_of(path) for path in FOLDER.iterdir() if path.is_file()) < 60
