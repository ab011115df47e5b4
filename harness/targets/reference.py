"""Whether the package `agentexec` of this environment is the reference implementation, and whether it is complete.

PyPI has another project with the import package `agentexec`. If both are installed, the files of one replace those of
the other. The harness itself needs neither: only the target `agentexec` and the simulation use the reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from harness.errors import UsageError

PACKAGE = "agentexec"
DISTRIBUTION = "agentexec-reference"

# The modules of the harness with these prefixes import the reference.
_IMPORTING = ("harness.targets.agentexec_", "harness.targets.applications.agentexec")
# The modules of the reference that the harness imports first; no other package of this name has all of them.
_MODULES = ("queue/protocol.py", "store/models.py", "core/runtime.py")
_DEPENDENCIES = ("pydantic", "pydantic_settings", "redis", "sqlalchemy")
_INSTALL = f"`pip install {DISTRIBUTION}`, or from a checkout `pip install -e '.[reference]'`"


def require_reference(what: str, *, otherwise: str = "") -> None:
    """Raise `UsageError` unless the reference implementation is installed, alone under its name and complete.

    `what` needs it and begins the message, for example `The target agentexec`; `otherwise` is one more remedy, for its
    end. Imports nothing of the package.
    """
    problem = _problem()
    if problem:
        raise UsageError(f"{what} needs the reference implementation, {problem}{otherwise}.")


def require_reference_of(path: str, what: str, otherwise: str = "") -> None:
    """`require_reference`, if `package.module:NAME` is in a module of the harness that imports the reference."""
    if path.startswith(_IMPORTING):
        require_reference(what, otherwise=otherwise)


def _problem() -> str | None:
    place = _place()
    if place is None:
        return f"which is not installed; run {_INSTALL}"
    owners = {owner.name: owner for owner in _owners(place)}
    needed = [place / module for module in _MODULES]
    if DISTRIBUTION in owners:
        # The removal of another project with this package removes the files that both have.
        files = (file for file in owners[DISTRIBUTION].files or () if file.parts[0] == PACKAGE)
        needed += [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    if owners.keys() - {DISTRIBUTION} or not all(file.is_file() for file in needed):
        return _of_others(place, sorted(owners))
    missing = [name for name in _DEPENDENCIES if find_spec(name) is None]
    return f"which lacks {', '.join(missing)}; run {_INSTALL}" if missing else None


def _of_others(place: Path, owners: Sequence[str]) -> str:
    remedy = f"run `pip uninstall {' '.join(owners)}`" if owners else "rename it or work in another folder"
    return (
        f"but {place}{' of ' if owners else ''}{' and '.join(owners)} is another package `{PACKAGE}`, "
        f"mixed with one, or damaged; {remedy}, and then {_INSTALL}, best in an environment of its own"
    )


def _place() -> Path | None:
    """The folder or file that `import agentexec` would find first; None if there is none."""
    spec = find_spec(PACKAGE)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))
    return Path(places[0]).resolve() if places else None


def _owners(place: Path) -> Iterator[metadata.Distribution]:
    """The installed distributions that have files at the place."""
    for distribution in metadata.distributions():
        # A path for each file of all distributions would take a quarter of a second.
        record = distribution.read_text("RECORD")
        files = record.splitlines() if record is not None else map(str, distribution.files or ())
        tops = {re.split("[/,]", file, maxsplit=1)[0] for file in files} & {PACKAGE, f"{PACKAGE}.py"}
        if any(Path(str(distribution.locate_file(top))).resolve() == place for top in tops):
            yield distribution
