"""The modules of the repository: their paths, names, text and imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agentexec", "harness", "chaos", "loadtests")
ADAPTERS = ("harness/targets/shipped", "harness/targets/scaffold", "loadtests/peers/systems")


@cache
def sources(ending: str = ".py") -> Mapping[str, str]:
    """The text of each file of the four packages that ends so, by its path below the root of the repository.

    Adapters are left out: they run in environments of their own and are no modules of the packages.
    """
    return {
        path: text for path, text in sources_and_adapters(ending).items() if not path.startswith(ADAPTERS)
    }


@cache
def sources_and_adapters(ending: str = ".py") -> Mapping[str, str]:
    """The same with the adapters, whose class names readers meet too."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob(f"*{ending}")))
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths}


def is_package(path: str) -> bool:
    """Whether a path names the `__init__` of a package."""
    return path.rpartition("/")[2] == "__init__.py"


def name_of(path: str) -> str:
    """The dotted name of the module at a path."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def imported_by(path: str) -> tuple[str, ...]:
    """Dotted names that a module of the repository imports."""
    return tuple(imports_of(sources()[path], name_of(path), package=is_package(path)))


def imports_of(source: str, module: str, *, package: bool = False) -> Iterator[str]:
    """Dotted names that a module imports anywhere: also in functions, under TYPE_CHECKING and by import_module."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(names=names):
                origin = _origin(node, module, package=package)
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called),
                args=[ast.Constant(value=str(name)), *_],
            ):
                if called in {"import_module", "__import__"}:
                    yield name


def _origin(node: ast.ImportFrom, module: str, *, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".")
    kept = parents[: len(parents) - node.level + package]
    return ".".join([*kept, *([node.module] if node.module else [])])
