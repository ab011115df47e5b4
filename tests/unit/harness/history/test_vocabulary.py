"""Every name under which the harness records is known, so that `evidence` reports only strange ones."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import harness
from harness.history.names import VOCABULARY

ROOT = Path(harness.__file__).parent
OF_THE_FILE_ITSELF = {"begin", "end"}


def test_every_name_under_which_the_harness_records_is_in_its_vocabulary() -> None:
    found = dict(_recorded())
    assert {"enqueue", "exit", "promises", "machine", "clock"} <= set(found.values())
    strange = {where: f for where, f in found.items() if f not in VOCABULARY | OF_THE_FILE_ITSELF}
    assert strange == {}, (
        "add each name to harness.history.names.VOCABULARY, and to docs/reference/histories.md"
    )


def _recorded() -> Iterator[tuple[str, str]]:
    """Each name after an `OperationType.X` among the arguments of a call, and each argument `f`, by its place.

    Without those of the nemesis, which may record a fault under any name.
    """
    for path in sorted(ROOT.rglob("*.py")):
        if "kit" in path.parts or "scaffold" in path.parts or "shipped" in path.parts:
            continue
        module = ".".join((harness.__name__, *path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and not _of_nemesis(node):
                for name in _names(node):
                    if (f := _value(name, module)) is not None:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", f


def _of_nemesis(call: ast.Call) -> bool:
    first = ast.unparse(call.args[0]) if call.args else ""
    return first == "NEMESIS" or ast.unparse(call.func).endswith("nemesis.record")


def _names(call: ast.Call) -> Iterator[ast.expr]:
    kinds = [
        isinstance(one, ast.Attribute) and ast.unparse(one.value) == "OperationType" for one in call.args
    ]
    records = ast.unparse(call.func).rpartition(".")[2].removeprefix("_") == "record"
    yield from (after for is_kind, after in zip(kinds, call.args[1:], strict=False) if is_kind and records)
    yield from (one.value for one in call.keywords if one.arg == "f")


def _value(name: ast.expr, module: str) -> str | None:
    """The text of a literal or of a constant of the module; None for anything that is known only in a run."""
    if isinstance(name, ast.Constant):
        return str(name.value)
    if not isinstance(name, ast.Name):
        return None
    found = getattr(importlib.import_module(module), name.id, None)
    return found if isinstance(found, str) else None
