"""`python -m tests.house.first_imports`: import each module of the four packages before the others.

An empty package stands in for the top package of the module. The order in which the real `__init__` imports modules can
then hide neither a circle nor a missing import. The parent imports only the standard library and third parties. Python
imports the package of a module before the module, so a process that has imported a package forks a child for each
module that the package did not import. Prints the name and the traceback of each import that fails.

Exit codes: 0 if every import works, 1 if not.
"""

from __future__ import annotations

import ast
import gc
import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module

# By these names they stay as they are when gevent patches `os`.
from os import _exit, fork, wait, waitpid, waitstatus_to_exitcode
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import NoReturn

from tests.house.sources import PACKAGES, ROOT, imported_by, imports_of, is_package, name_of, sources

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
    """Import each top package in one child, and what is in no other package in a second one; returns the exit code."""
    for top in PACKAGES:
        names = [name for name in modules[""] if name.startswith(f"{top}.")]
        if top in modules[""] and fork() == 0:
            end_with(import_one(top))
        if names and fork() == 0:
            stand_in_for(top)
            end_with(import_each(names, modules))
    code = 0
    with suppress(ChildProcessError):
        while True:
            code |= waitstatus_to_exitcode(wait()[1])
    return code


def import_each(names: Iterable[str], modules: Mapping[str, Sequence[str]]) -> int:
    """Import each of these modules, and then those in it, in a process of its own; returns the exit code.

    What several of them load in any case is imported once, in a process that forks theirs. Only a circle would make a
    difference, and `circles` finds those.
    """
    code, left = 0, set(names)
    for name in sorted(left & {*sys.modules}):
        left.remove(name)
        code |= import_each(modules.get(name, ()), modules)
    while left:
        loaded = {name: always_loaded(name) - {*sys.modules} for name in left}
        wanted = Counter(each for found in loaded.values() for each in found)
        worth = {each: (number > 1) * number * len(always_loaded(each)) for each, number in wanted.items()}
        first = max(sorted(worth), key=lambda each: (worth[each], each in left))
        together = {name for name in left if first in loaded[name]}
        left -= together
        if (child := fork()) == 0:
            end_with(import_one(first) or import_each(together, modules))
        code |= waitstatus_to_exitcode(waitpid(child, 0)[1])
    return code


def import_one(name: str) -> int:
    """Import a module; returns 0, or 1 after a traceback on stderr."""
    try:
        import_module(name)
    except BaseException:
        traceback.print_exc()
        print(f"{name} cannot be imported first", file=sys.stderr)
        return 1
    return 0


@cache
def always_loaded(name: str) -> frozenset[str]:
    """The module and those that its import loads by statements outside of any block, without the top packages."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in files() and one not in {*found, *PACKAGES}:
            found.add(one)
            waiting += [one.rpartition(".")[0], *imported_outside_of_blocks(one)]
    return frozenset(found)


@cache
def files() -> Mapping[str, str]:
    """The path of each module."""
    return {name_of(path): path for path in sources()}


@cache
def imported_outside_of_blocks(name: str) -> tuple[str, ...]:
    """Dotted names in the import statements of a module that run whenever it is imported."""
    path = files()[name]
    imports = (ast.Import, ast.ImportFrom)
    body: list[ast.stmt] = [one for one in ast.parse(sources()[path]).body if isinstance(one, imports)]
    found = tuple(imports_of(ast.unparse(ast.Module(body, [])), name, package=is_package(path)))
    return (*found, *(each.rpartition(".")[0] for each in found))


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
