"""What a package says about its public names, and which class names stand for more than one class."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from tests.house.sources import PACKAGES, name_of


def trouble_with_exports(source: str) -> str | None:
    """What is wrong with the public names of a package's `__init__`; None where nothing is."""
    imported, lists = _exports(source)
    if not lists:
        return "it re-exports names and has no __all__" if imported else None
    if len(lists) > 1:
        return "it has more than one __all__"
    [listed] = lists
    if listed != sorted(listed, key=_kind_then_name):
        return "__all__ is not sorted"
    if len(set(listed)) != len(listed):
        return "__all__ names something twice"
    return None


def _exports(source: str) -> tuple[set[str], list[list[str]]]:
    """Names that a package imports from modules of the repository, and every `__all__` that it has."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] in PACKAGES)
        for alias in node.names
    }
    lists: list[list[str]] = []
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                lists.append(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                lists.append(ast.literal_eval(value))
    return imported, lists


def _kind_then_name(name: str) -> tuple[bool, bool, str]:
    """Constants, classes, functions: the order that ruff keeps."""
    return not name.isupper(), not name[:1].isupper(), name


def repeated_class_names(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Public class names that more than one class has, with the modules (of path to source) that define them."""
    places: dict[str, list[str]] = {}
    for path, text in texts.items():
        for name in _public_classes(ast.parse(text)):
            places.setdefault(name, []).append(name_of(path))
    return {name: modules for name, modules in sorted(places.items()) if len(modules) > 1}


def _public_classes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
