"""`python -m tests.house.first_imports`: import each module of the four packages first, each in a process of its own.

An empty package stands in for the top package of the module. The order in which the real `__init__` imports modules can
then hide neither a circle nor a missing import. The parent imports only the standard library and third parties, and
forks a child for each module. Prints the traceback of each import that fails, and a line of figures.

Exit codes: 0 if every import works, 1 if not.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

from tests.house.sources import PACKAGES, ROOT, imported_by, name_of, sources

# Alembic runs this file itself, inside a migration.
NOT_IMPORTED = {"agentexec.migrations.env"}
# Importing these replaces parts of the standard library, which is safe only in a fresh interpreter.
PATCHING = {"gevent", "locust"}


def main() -> int:
    """Import every module; returns the exit code."""
    paths = [path for path in sources() if name_of(path) not in NOT_IMPORTED]
    forked = [path for path in paths if not PATCHING & tops_of(path)]
    fresh = [name_of(path) for path in paths if path not in forked]
    preload(forked)
    gc.disable()  # what a collection touches, a child would have to copy
    failed = [*failures_in_forks(map(name_of, forked)), *(name for name in fresh if not imports_fresh(name))]
    print(f"{len(paths)} modules, {len(failed)} failed: {failed}")
    return int(bool(failed))


def tops_of(path: str) -> set[str]:
    """Top-level packages that a module imports."""
    return {name.partition(".")[0] for name in imported_by(path)}


def preload(paths: Iterable[str]) -> None:
    """Import what the modules import from outside of the repository, once for all children."""
    for top in sorted({top for path in paths for top in tops_of(path)}):
        if top not in {*PACKAGES, "tests"} and find_spec(top) is not None:
            import_module(top)


def failures_in_forks(names: Iterable[str]) -> Iterator[str]:
    """Names of the modules whose import fails in a child, with as many children at a time as there are CPUs."""
    running: dict[int, str] = {}
    for name in names:
        if len(running) == (os.cpu_count() or 1):
            yield from finished(running)
        child = os.fork()
        if child == 0:
            import_and_end(name)
        running[child] = name
    while running:
        yield from finished(running)


def finished(running: dict[int, str]) -> Iterator[str]:
    """Wait for one child and forget it; its module, if the import failed."""
    child, status = os.wait()
    name = running.pop(child)
    if os.waitstatus_to_exitcode(status) != 0:
        yield name


def import_and_end(name: str) -> NoReturn:
    """Import the module, then end this process: with 0, or with 1 and the traceback on stderr."""
    code = 1
    try:
        if name not in PACKAGES:
            stand_in_for(name.partition(".")[0])
        import_module(name)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def stand_in_for(package: str) -> None:
    """Put an empty package in the place of a real one: its modules are found, its `__init__` does not run."""
    module = ModuleType(package)
    module.__path__ = [str(ROOT / package)]
    module.__file__ = str(ROOT / package / "__init__.py")
    sys.modules[package] = module


def imports_fresh(name: str) -> bool:
    """Whether a new interpreter can import the module."""
    return subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
