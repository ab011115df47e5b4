"""Look up scenarios, targets and workloads by the name of an entry point, or by an import path.

An entry point refers to one value with a `name`, or to a mapping of names to values. A module is imported only when
one of its values is looked up.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePath
from typing import Any

import harness
from harness.errors import FOREIGN_ERRORS, HarnessError, UsageError, describe_error
from harness.scenario.scenario import Scenario
from harness.targets.adapter import adapter, names_adapter, shipped
from harness.targets.application_reference import NO_SERVERS, on_servers
from harness.targets.base import Target
from harness.targets.reference import require_reference_of
from harness.workloads.base import Workload

SCENARIOS = "harness.scenarios"
TARGETS = "harness.targets"
WORKLOADS = "harness.workloads"

_CELLS, _CELL_PREFIX = "harness.queues.cells:CELLS", "cell-"

_WHAT = {SCENARIOS: "scenario", TARGETS: "target", WORKLOADS: "workload"}


def scenarios() -> dict[str, Scenario]:
    """Every known scenario by name, in the order of the entry points."""
    found: dict[str, Scenario] = {}
    for point in _points(SCENARIOS):
        value = _imported(point.value, SCENARIOS)
        found.update(value if isinstance(value, Mapping) else {value.name: value})
    return found


def scenario(name: str) -> Scenario:
    """A scenario by its name or `package.module:NAME`; raises `UsageError` that lists the known names.

    The name may also be that of a cell of the table of queues, which is not in `scenarios`.
    """
    if ":" in name:
        return _of_kind(_imported(name, SCENARIOS), Scenario, name)
    if name.startswith(_CELL_PREFIX):
        known: dict[str, Scenario] = dict(_imported(_CELLS, SCENARIOS))
    else:
        known = scenarios()
    if name not in known:
        raise _unknown(name, known, SCENARIOS)
    return known[name]


def target(name: str | Target) -> Target:
    """A target by its name, `package.module:NAME` or value, or the path or name of an adapter.

    The latter may end in `@PROFILE`. Raises `UsageError` that lists the known names.
    """
    members = ("name", "version", "open")
    if not isinstance(name, str):
        _require_members(name, type(name).__name__, TARGETS, members)
        return name
    if names_adapter(name) and name not in (point.name for point in _points(TARGETS)):
        return adapter(name)
    found: Target = _single(name, TARGETS, members)
    return found


def application(name: str) -> Target:
    """An application of `harness.testing.app` by `package.module:NAME`; raises `UsageError` for anything else."""
    if ":" not in name:
        raise UsageError(f"{name!r} does not name an application. Write package.module:NAME of an app(...).")
    _search_current_folder()
    with on_servers(NO_SERVERS):
        value = _imported(name, TARGETS, what="application")
    if not hasattr(value, "wrapped"):
        raise UsageError(
            f"{name} is not an application of harness.testing but a {type(value).__name__}. "
            "Write SHOP = app(pool, make=...) in a file, and name SHOP."
        )
    found: Target = value
    return found


def workload(name: str) -> Workload:
    """A workload by its name or `package.module:NAME`; raises `UsageError` that lists the known names."""
    found: Workload = _single(name, WORKLOADS, ("name", "client", "generator", "final_generator", "checkers"))
    return found


def require_own_package() -> None:
    """Raise `UsageError` if worker processes, which search the current folder first, would find another `harness`."""
    package = Path(harness.__file__).resolve()
    for place in (Path("harness/__init__.py"), Path("harness.py")):
        if place.is_file() and place.resolve() != package:
            raise UsageError(
                f"{place} in the current folder hides the package harness from worker processes. "
                "Rename it, or run from another folder."
            )


def names(group: str) -> list[str]:
    """The names of a group's entry points; imports nothing."""
    found = [point.name for point in _points(group)]
    return [*found, *shipped()] if group == TARGETS else found


def _single(name: str, group: str, members: tuple[str, ...]) -> Any:
    path = name
    if ":" not in name:
        points = {point.name: point for point in _points(group)}
        if name not in points:
            raise _unknown(name, names(group), group)
        path = points[name].value
    _search_current_folder()
    require_reference_of(path, f"The target {name}", ", or name another with --target package.module:NAME")
    value = _imported(path, group)
    _require_members(value, name, group, members)
    return value


def _require_members(value: object, name: str, group: str, members: tuple[str, ...]) -> None:
    missing = [member for member in members if not hasattr(value, member)]
    if missing:
        raise UsageError(
            f"{name} is not a {_WHAT[group]}: it has no {', '.join(missing)}. "
            f"Name a value that has them, as the {_WHAT[group]}s of the harness do."
        )


def _points(group: str) -> list[EntryPoint]:
    found = {point.name: point for point in (*_bundled(group), *entry_points(group=group))}
    return list(found.values())


def _bundled(group: str) -> list[EntryPoint]:
    # The entry points of pyproject.toml, for a checkout that is not installed.
    here = {
        SCENARIOS: {"chaos": "harness.scenario.bundled:SCENARIOS"},
        TARGETS: {"agentexec": "harness.targets.agentexec_target:TARGET"},
        WORKLOADS: {
            "numbered-tasks": "harness.workloads.numbered_tasks:WORKLOAD",
            "locked-tasks": "harness.workloads.locked_tasks:WORKLOAD",
            "versioned-tasks": "harness.workloads.versioned_tasks:WORKLOAD",
            "agent-tasks": "harness.load.agent_tasks:WORKLOAD",
        },
    }
    return [EntryPoint(name=name, value=value, group=group) for name, value in here[group].items()]


def _search_current_folder() -> None:
    # A console script does not import from the current folder by itself.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def _imported(path: str, group: str, *, what: str | None = None) -> Any:
    what = what or _WHAT[group]
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"{path!r} does not name {_a(what)}. Write package.module:NAME.")
    if "/" in module_name or module_name.endswith(".py"):
        parts = PurePath(module_name.removesuffix(".py")).parts
        dotted = "" if len(parts) < 2 or parts[0] == "/" else f"{'.'.join(parts)}:{attribute}, or "
        raise UsageError(
            f"{path!r} names a file. Name its module, as {dotted}{parts[-1]}:{attribute} in the folder of the file."
        )
    _search_current_folder()
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"The {what} {path} cannot be imported: {error}. {_import_remedy(module_name, error)}"
        ) from error
    except HarnessError:
        raise
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"The {what} {path} cannot be imported: {describe_error(error)}. Correct its module."
        ) from error
    if not hasattr(module, attribute):
        raise UsageError(
            f"The module {module_name} has no {attribute}. Write package.module:NAME of {_a(what)}."
        )
    return getattr(module, attribute)


def _import_remedy(module_name: str, error: ImportError) -> str:
    """What to do about a module that does not exist, one that it imports, or a name that it imports."""
    if not isinstance(error, ModuleNotFoundError):
        return "Correct its module, or install another version of what it imports."
    if f"{module_name}.".startswith(f"{error.name}."):
        return "Run from the folder that holds its package, or install the package."
    return f"Install what it imports in the environment of {sys.executable}, or run from the folder that holds it."


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _of_kind(value: Any, kind: type[Scenario], name: str) -> Scenario:
    if not isinstance(value, kind):
        raise UsageError(
            f"{name} is not a Scenario but a {type(value).__name__}. Name a harness.scenario.Scenario."
        )
    return value


def _unknown(name: str, known: Iterable[str], group: str) -> UsageError:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    listed = ", ".join(sorted(known)) or "none is installed"
    return UsageError(
        f"There is no {_WHAT[group]} {name!r}.{meant} Known: {listed}; or write package.module:NAME."
    )
