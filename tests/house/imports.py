"""Which package of the repository may import which, which layer of agentexec which, and what needs an extra."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.sources import PACKAGES, ROOT

# Unpickling runs code that is in the data. Nothing that is stored or sent here needs it.
FORBIDDEN = ("pickle", "marshal", "shelve", "dill", "cloudpickle")
# Packages that each part may import. A module belongs to the part with the longest name that its own begins with.
ALLOWED = {
    "agentexec": {"agentexec"},
    "harness": {"harness"},
    "harness.doctor": {"harness", "agentexec"},
    "harness.load": {"harness", "agentexec"},
    "harness.targets": {"harness", "agentexec"},
    "harness.simulation": {"harness", "agentexec"},
    "chaos": {"chaos", "harness"},
    "loadtests": {"loadtests", "agentexec", "harness"},
}
# The extras whose packages each part may import. A module belongs to the part with the longest name that its own begins
# with. The harness runs beside any system, so only the parts that run the reference may import what that needs.
EXTRAS = {
    "agentexec": {"reference"},
    "agentexec.config": {"reference", "aws"},
    "agentexec.ops.metrics": {"reference", "metrics"},
    "agentexec.api": {"reference", "api"},
    "agentexec.migrations": {"reference", "migrations"},
    "harness": set(),
    "harness.doctor": {"reference"},
    "harness.environments": {"embedded", "containers"},
    "harness.llm": {"llm"},
    "harness.load": {"reference", "load"},
    "harness.pytest_plugin": {"pytest"},
    "harness.targets.applications.agentexec": {"reference"},
    "harness.targets.applications.agentexec_observed": {"reference"},
    "harness.targets.applications.agentexec_pool": {"reference"},
    "harness.targets.applications.agentexec_watched": {"reference"},
    "harness.targets.applications.agentexec_watched_task": {"reference"},
    "harness.targets.applications.redis_database": {"reference"},
    "harness.targets.agentexec_pool": {"reference"},
    "harness.targets.agentexec_evidence": {"reference"},
    "harness.targets.agentexec_migrations": {"reference", "migrations"},
    "harness.targets.agentexec_schema": {"reference"},
    "harness.targets.agentexec_target": {"reference"},
    "harness.targets.agentexec_tasks": {"reference"},
    "harness.targets.queue_owners": {"reference"},
    "harness.testing.sources": {"reference"},  # invariants over Redis
    "harness.testing.leftovers": {"reference"},  # keys of an application in Redis
    "harness.simulation": {"reference", "simulation"},
    "chaos": set(),
    "loadtests": {"reference", "api", "embedded", "load"},
}
# Layers of agentexec from low to high; a module imports modules of its own layer and of lower ones. The root layer is
# the modules at the top of agentexec, without its `__init__` and `__main__`, which are above all layers.
LAYERS = (
    {"root"},
    {"store"},
    {"core"},
    {"queue"},
    {"producer"},
    {"ops"},
    {"worker"},
    {"compat"},
    {"activity"},
    {"api", "cli", "migrations", "testing"},
)
RANKS = {folder: rank for rank, layer in enumerate(LAYERS) for folder in layer}


def forbidden_imports(module: str, imported: Iterable[str]) -> list[str]:
    """Imports that a module's package may not make, and those of private names of another package."""
    part = part_of(module, ALLOWED)
    found = []
    for name in imported:
        package, *rest = name.split(".")
        if package not in {*PACKAGES, "tests"}:
            continue
        private = package != module.partition(".")[0] and any(piece.startswith("_") for piece in rest)
        if package not in ALLOWED[part] or private:
            found.append(name)
    return found


def part_of(module: str, parts: Iterable[str]) -> str:
    """The part with the longest name that the module belongs to."""
    return max((part for part in parts if f"{module}.".startswith(f"{part}.")), key=len)


def upward_imports(graph: Mapping[str, Set[str]]) -> Iterator[tuple[str, str]]:
    """Pairs of modules of agentexec of which the first imports the second from a higher layer."""
    for name, targets in sorted(graph.items()):
        if f"{name}.".startswith("agentexec."):
            yield from ((name, target) for target in sorted(targets) if rank_of(target) > rank_of(name))


def rank_of(module: str) -> float:
    """The position of the layer of a module of agentexec."""
    rest = module.partition(".")[2]
    if rest in {"", "__main__"}:
        return float("inf")
    folder, dot, _ = rest.partition(".")
    return RANKS[folder if dot or folder in RANKS else "root"]


def declared(*, extras: Set[str]) -> set[str]:
    """Distributions that an install of the project with these extras brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = list(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        texts += requirements if extra in extras else []
    return {canonicalize_name(Requirement(text).name) for text in texts}


def extras_for(module: str) -> set[str]:
    """Extras that a module may need."""
    return EXTRAS[part_of(module, EXTRAS)]


providers_of_packages = cache(packages_distributions)  # reads every installed distribution


def undeclared(imported: Iterable[str], distributions: Set[str]) -> set[str]:
    """Third-party packages that are imported and come from none of the distributions."""
    providers = providers_of_packages()
    tops = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    return {
        top
        for top in tops - {*PACKAGES, "__main__"}
        if not distributions & {canonicalize_name(name) for name in providers.get(top, ())}
    }
