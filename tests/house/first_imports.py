"""`python -m tests.house.first_imports`: import each module of the four packages before the others.

An empty package stands in for the top package of the module. The order in which the real `__init__` imports modules can
then hide neither a circle nor a missing import. The parent imports only the standard library and third parties. Python
imports the package of a module before the module, so a process that has imported a package forks a child for each
module that the package did not import. Prints the name and the traceback of each import that fails.

Exit codes: 0 if every import works, 1 if not.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module

# By these names they stay as they are when gevent patches `os`.
from os import _exit, cpu_count, fork, wait, waitpid, waitstatus_to_exitcode
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import NoReturn

from tests.house.sources import PACKAGES, ROOT, imported_by, name_of, sources

# Alembic runs this file itself, inside a migration.
NOT_IMPORTED = {"agentexec.migrations.env"}
# Importing these replaces parts of the standard library, which is safe only before anything else has used those.
PATCHING = {"gevent", "locust"}


def main() -> int:
    """Import every module; returns the exit code."""
    paths = [path for path in sources() if name_of(path) not in NOT_IMPORTED]
    patched = [path for path in paths if PATCHING & tops_of(path)]
    if (child := fork()) == 0:
        end_with(import_all(patched))
    _, status = waitpid(child, 0)
    return waitstatus_to_exitcode(status) | import_all([path for path in paths if path not in patched])


def import_all(paths: Sequence[str]) -> int:
    """Import these modules; returns the exit code."""
    preload(paths)
    names = sorted(map(name_of, paths))
    gc.disable()  # what a collection touches, a child would have to copy
    with TemporaryDirectory() as compiled:
        # One child compiles a module for all, also where the environment asks for no bytecode.
        sys.pycache_prefix, sys.dont_write_bytecode = compiled, False
        code = import_first(modules_by_package(names))
    print(
        f"{len(names)} modules can be imported first"
        if code == 0
        else "not every module can be imported first"
    )
    return code


def tops_of(path: str) -> set[str]:
    """Top-level packages that a module imports."""
    return {name.partition(".")[0] for name in imported_by(path)}


def preload(paths: Iterable[str]) -> None:
    """Import what the modules import from outside of the repository, once for all children, down to its submodules."""
    for name in sorted({name for path in paths for name in imported_by(path)}):
        if name.partition(".")[0] not in {*PACKAGES, "tests"}:
            with suppress(ImportError):  # the name of a class, or of an optional package
                import_module(name)


def modules_by_package(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """The modules of each package below a top package; those of no such package are at the name ""."""
    known, found = set(names), defaultdict[str, list[str]](list)
    for name in sorted(known):
        package = name.rpartition(".")[0]
        while package not in known and package:
            package = package.rpartition(".")[0]
        found["" if package in PACKAGES else package].append(name)
    return found


def import_first(modules: Mapping[str, Sequence[str]]) -> int:
    """Import what is in no package, with as many children at a time as there are CPUs; returns the exit code."""
    code = running = 0
    for name in modules[""]:
        if running == (cpu_count() or 1):
            code, running = code | waitstatus_to_exitcode(wait()[1]), running - 1
        if fork() == 0:
            if name not in PACKAGES:
                stand_in_for(name.partition(".")[0])
            import_and_end(name, modules)
        running += 1
    for _ in range(running):
        code |= waitstatus_to_exitcode(wait()[1])
    return code


def import_and_end(name: str, modules: Mapping[str, Sequence[str]]) -> NoReturn:
    """Import the module and those in it, then end this process: with 0, or with 1 and tracebacks on stderr."""
    code = 1
    try:
        import_module(name)
        code = import_below(name, modules)
    except BaseException:
        traceback.print_exc()
        print(f"{name} cannot be imported first", file=sys.stderr)
    finally:
        end_with(code)


def import_below(package: str, modules: Mapping[str, Sequence[str]]) -> int:
    """Import the modules of a package that this process has imported; returns the exit code."""
    code = 0
    for name in modules.get(package, ()):
        if name in sys.modules:
            code |= import_below(name, modules)
        elif (child := fork()) == 0:
            import_and_end(name, modules)
        else:
            code |= waitstatus_to_exitcode(waitpid(child, 0)[1])
    return code


def end_with(code: int) -> NoReturn:
    """End this process without what its parent would do at its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    _exit(code)


def stand_in_for(package: str) -> None:
    """Put an empty package in the place of a real one: its modules are found, its `__init__` does not run."""
    module = ModuleType(package)
    module.__path__ = [str(ROOT / package)]
    module.__file__ = str(ROOT / package / "__init__.py")
    sys.modules[package] = module


if __name__ == "__main__":
    sys.exit(main())
