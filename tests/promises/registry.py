"""The registry of the promises, read and resolved against what the project has."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import chaos
from harness.simulation.plan import FaultKind, Theme
from harness.simulation.themes import more_checkers
from tests.planted.defects import DEFECTS
from tests.simulation.undone import UNDONE
from tests.support.breaks import INVARIANTS, Break

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Path(__file__).parent / "registry.toml"
MACHINES = frozenset({"queue", "activity"})
# The simulation has these beside the checkers of every run.
IN_SIMULATION = frozenset({"invariants", "outcomes", "liveness"})
CHECKERS_PAGE = ROOT / "docs" / "reference" / "checkers.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """One promise: where it is made, who asks for it, what can break it, and the defects that do.

    `words` stand in the page `made`. `edit` is a defect of this registry, None where others break the promise.
    """

    name: str
    says: str
    made: str
    words: str
    asked: Sequence[str]
    struck: Sequence[str]
    broken: Sequence[str] = ()
    edit: Break | None = None


@cache
def promises() -> Mapping[str, Promise]:
    """Every promise by name, in the order of the registry."""
    rows = tomllib.loads(REGISTRY.read_text("utf-8"))["promise"]
    read = [Promise(**{**row, "edit": Break(**row["edit"]) if "edit" in row else None}) for row in rows]
    return {promise.name: promise for promise in read}


def problems(promise: Promise) -> list[str]:
    """What of a promise does not hold: each in a sentence."""
    text = " ".join((ROOT / promise.made).read_text("utf-8").split())
    found = [] if promise.words in text else [f"{promise.made} does not say {promise.words!r}"]
    found += [f"{name!r} asks for nothing" for name in promise.asked if not _asks(name)]
    found += [f"there is no fault {name!r}" for name in promise.struck if not _strikes(name)]
    found += [f"there is no defect {name!r}" for name in promise.broken if not _breaks(name)]
    found += [] if promise.asked else ["nothing asks for it"]
    found += [] if promise.broken or promise.edit else ["no defect breaks it"]
    if promise.edit is not None and not _finds(promise.edit.test):
        found.append(f"there is no test {promise.edit.test!r}")
    return found


@cache
def checkers() -> Set[str]:
    """The names of all checkers, as their page lists them."""
    return set(re.findall(r"^\| \[`(\w+)`\]", CHECKERS_PAGE.read_text("utf-8"), re.MULTILINE))


@cache
def simulated() -> Set[str]:
    """The names of the checkers that judge simulated runs."""
    return checkers() | IN_SIMULATION | {name for theme in Theme for name in more_checkers(theme)}


@cache
def tests_of(path: str) -> Set[str]:
    """The test functions of a file, none if there is no such file."""
    file = ROOT / path
    nodes = ast.walk(ast.parse(file.read_text("utf-8"))) if file.is_file() else ()
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _asks(name: str) -> bool:
    match name.split(" "):
        case ["checker", rest]:
            return rest in checkers()
        case ["simulation", rest]:
            return rest in simulated()
        case ["machine", rest]:
            return rest in MACHINES
        case _:
            return _is_test(name)


def _strikes(name: str) -> bool:
    kind, _, rest = name.partition(" ")
    return rest in set(FaultKind) if kind == "simulation" else name in chaos.SCENARIOS


def _breaks(name: str) -> bool:
    kind, _, rest = name.partition(" ")
    known: dict[str, Set[str]] = {
        "planted": DEFECTS.keys(),
        "undone": UNDONE.keys(),
        "invariant": INVARIANTS.keys(),
    }
    return rest in known.get(kind, ())


def _finds(test: str) -> bool:
    kind, _, rest = test.partition(" ")
    return rest in chaos.SCENARIOS if kind == "scenario" else _is_test(test)


def _is_test(name: str) -> bool:
    path, _, function = name.partition("::")
    return function.partition("[")[0] in tests_of(path)
