"""The rules of the house that a machine can read: which room may import which, and what every module looks like."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("agentexec", "harness", "chaos", "loadtests")
LONGEST_MODULE = 400
# What unpickles runs code of whoever wrote it, and nothing that is stored or sent here needs it.
FORBIDDEN = ("pickle", "marshal", "shelve", "dill", "cloudpickle")
# Rooms each part may import; a part is the longest key that a module's name starts with.
ARROWS = {
    "agentexec": {"agentexec"},
    "harness": {"harness"},
    "harness.targets": {"harness", "agentexec"},
    "harness.simulation": {"harness", "agentexec"},
    "chaos": {"chaos", "harness"},
    "loadtests": {"loadtests", "agentexec", "harness"},
}
# The only parts of agentexec that may use what an extra brings, and which extra that is.
OPTIONAL = {"agentexec.ops.metrics": "metrics", "agentexec.api": "api", "agentexec.migrations": "migrations"}
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
SCRIPTS = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.lua"))]


@cache
def source_of(path: Path) -> str:
    """The text of a module."""
    return path.read_text("utf-8")


@cache
def imported_by(path: Path) -> tuple[str, ...]:
    """Dotted names that a module of this repository imports."""
    return tuple(imports_of(source_of(path), name_of(path), package=path.name == "__init__.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module of this repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, *, package: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it: also under TYPE_CHECKING and through import_module."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=origin, names=names, level=level):
                if level:
                    parents = module.split(".")
                    kept = parents[: len(parents) - level + package]
                    origin = ".".join([*kept, *([origin] if origin else [])])
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called),
                args=[ast.Constant(value=str(name)), *_],
            ):
                if called in {"import_module", "__import__"}:
                    yield name


def broken_arrows(module: str, imported: Iterable[str]) -> list[str]:
    """Imports that leave a module's room by a way that is not an arrow, or reach into another room's private parts."""
    part = max((key for key in ARROWS if f"{module}.".startswith(f"{key}.")), key=len)
    found = []
    for name in imported:
        room, *rest = name.split(".")
        if room not in {*ROOMS, "tests"}:
            continue
        private = room != module.partition(".")[0] and any(piece.startswith("_") for piece in rest)
        if room not in ARROWS[part] or private:
            found.append(name)
    return found


def test_every_import_follows_an_arrow_between_the_rooms() -> None:
    broken = {name_of(path): broken_arrows(name_of(path), imported_by(path)) for path in MODULES}
    assert {module: names for module, names in broken.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("agentexec.queue.protocol", "import harness.gate", ["harness.gate"]),
        ("agentexec.queue.protocol", "from agentexec import keys\nimport redis", []),
        (
            "harness.run.runner",
            "def f():\n    from agentexec.queue.protocol import Queue",
            ["agentexec.queue.protocol.Queue"],
        ),
        ("harness.targets.agentexec", "from agentexec import Pool", []),
        ("harness.targets.agentexec", "from agentexec import _secret", ["agentexec._secret"]),
        ("harness.workloads.numbered", "from agentexec import Pool", ["agentexec.Pool"]),
        ("harness.cli", "from importlib import import_module\nimport_module('chaos')", ["chaos"]),
        ("harness.checkers.delivery", "from harness.checkers.counterexample import stories", []),
        ("harness.targets_of_others", "import agentexec", ["agentexec"]),
        ("chaos.kill", "from agentexec import Pool", ["agentexec.Pool"]),
        ("chaos.kill", "from loadtests import users", ["loadtests.users"]),
        ("loadtests.users", "from chaos import SCENARIOS", ["chaos.SCENARIOS"]),
        (
            "harness.report.page",
            "from ..checker import Verdict\nfrom ...tests import helper",
            ["tests.helper"],
        ),
        ("loadtests.run", "from tests import conftest", ["tests.conftest"]),
    ],
)
def test_the_judge_of_arrows_knows_right_from_wrong(module: str, source: str, broken: list[str]) -> None:
    assert broken_arrows(module, imports_of(source, module)) == broken


def declared(*, extras: bool | str) -> set[str]:
    """Distributions that an install of the project brings, with all of its extras, the named one, or none."""
    project = tomllib.loads(source_of(ROOT / "pyproject.toml"))["project"]
    texts = list(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        texts += requirements if extras is True or extra == extras else []
    return {canonicalize_name(Requirement(text).name) for text in texts}


def extras_for(module: str) -> bool | str:
    """Which extras a module may count on: all of them outside of agentexec, and inside none but its part's own."""
    if not f"{module}.".startswith("agentexec."):
        return True
    return next((extra for part, extra in OPTIONAL.items() if f"{module}.".startswith(f"{part}.")), False)


providers_of_packages = cache(packages_distributions)  # reads every installed distribution


def undeclared(imported: Iterable[str], distributions: set[str]) -> set[str]:
    """Third-party packages that are imported and come from none of the distributions."""
    providers = providers_of_packages()
    tops = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - {*ROOMS, "__main__"}
    return {
        top
        for top in tops
        if not distributions & {canonicalize_name(name) for name in providers.get(top, ())}
    }


@pytest.mark.parametrize("room", ROOMS)
def test_third_parties_are_declared_where_they_are_needed(room: str) -> None:
    """A production pool is installed without extras, so agentexec has to do with the core dependencies."""
    names = {name_of(path): path for path in MODULES if path.is_relative_to(ROOT / room)}
    missing = {n: undeclared(imported_by(p), declared(extras=extras_for(n))) for n, p in names.items()}
    assert {module: names for module, names in missing.items() if names} == {}


def test_the_judge_of_third_parties_knows_right_from_wrong() -> None:
    assert undeclared(["json", "redis.asyncio", "chaos", "yaml_of_nobody"], {"redis"}) == {"yaml_of_nobody"}
    assert undeclared(["redis"], declared(extras=False)) == set()
    assert undeclared(["locust"], declared(extras=False)) == {"locust"}
    assert undeclared(["fastapi"], declared(extras=extras_for("agentexec.producer.client"))) == {"fastapi"}
    assert undeclared(["fastapi"], declared(extras=extras_for("agentexec.ops.metrics"))) == {"fastapi"}
    assert undeclared(["fastapi"], declared(extras=extras_for("agentexec.api.app"))) == set()


def test_nothing_is_ever_unpickled() -> None:
    paths = [
        path for path in MODULES if any(name.partition(".")[0] in FORBIDDEN for name in imported_by(path))
    ]
    assert [name_of(path) for path in paths] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(ast.parse(source_of(path)))] == []


def test_no_module_outgrows_its_reader() -> None:
    assert [name_of(p) for p in MODULES if len(source_of(p).splitlines()) > LONGEST_MODULE] == []


def exports(source: str) -> tuple[set[str], list[str] | None]:
    """Names that a package takes from its own modules, and its `__all__` if it has one."""
    tree = ast.parse(source)
    taken = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] in ROOMS)
        for alias in node.names
    }
    listed: list[str] | None = None
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                listed = list(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                listed = list(ast.literal_eval(value))
    return taken, listed


def trouble_with_exports(source: str) -> str | None:
    """What is wrong with the public names of a package's `__init__`."""
    taken, listed = exports(source)
    if listed is None:
        return "it re-exports names and has no __all__" if taken else None
    if listed != sorted(listed, key=_kind_then_name):
        return "__all__ is not sorted"
    if len(set(listed)) != len(listed):
        return "__all__ names something twice"
    return None


def _kind_then_name(name: str) -> tuple[bool, bool, str]:
    return (
        not name.isupper(),
        not name[:1].isupper(),
        name,
    )  # constants, classes, functions: the order ruff keeps


def test_every_package_lists_its_public_names_in_order() -> None:
    packages = [path for path in MODULES if path.name == "__init__.py"]
    trouble = {name_of(path): trouble_with_exports(source_of(path)) for path in packages}
    assert {package: what for package, what in trouble.items() if what} == {}


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ('"""Doc."""', True),
        ("import os", True),
        ("from agentexec.pool import Pool", False),
        ("from .pool import Pool", False),
        ('from agentexec.pool import Pool, Task\n__all__ = ["Pool", "Task"]', True),
        ('from agentexec.pool import Pool, Task\n__all__ = ["Task", "Pool"]', False),
        ('from agentexec.pool import LIMIT, Pool, run\n__all__ = ["LIMIT", "Pool", "run"]', True),
        ('from agentexec.pool import Pool\n__all__ = ["Pool", "Pool"]', False),
    ],
)
def test_the_judge_of_public_names_knows_right_from_wrong(source: str, right: bool) -> None:
    assert (trouble_with_exports(source) is None) is right


def test_every_room_is_there_and_is_a_package() -> None:
    assert [room for room in ROOMS if not (ROOT / room / "__init__.py").is_file()] == []


def header_lacks(script: str) -> list[str]:
    """What the comment at the top of a Lua script does not name."""
    header = "\n".join(_leading_comments(script))
    return [
        word for word in ("KEYS", "ARGV", "returns") if not re.search(rf"\b{word}\b", header, _case(word))
    ]


def _leading_comments(script: str) -> Iterator[str]:
    for line in script.splitlines():
        if not line.startswith("--"):
            return
        yield line


def _case(word: str) -> re.RegexFlag:
    return re.IGNORECASE if word == "returns" else re.NOFLAG


def test_every_script_is_headed_by_its_keys_arguments_and_returns() -> None:
    lacking = {path.name: header_lacks(source_of(path)) for path in SCRIPTS}
    assert {script: words for script, words in lacking.items() if words} == {}


@pytest.mark.parametrize(
    ("script", "lacks"),
    [
        ("-- KEYS[1] queue\n-- ARGV[1] id\n-- Returns: 1\nreturn 1", []),
        ("-- KEYS[1] queue\nlocal id = ARGV[1] -- returns nothing\n", ["ARGV", "returns"]),
        ("return 1", ["KEYS", "ARGV", "returns"]),
    ],
)
def test_the_judge_of_script_headers_knows_right_from_wrong(script: str, lacks: list[str]) -> None:
    assert header_lacks(script) == lacks
