"""`adapter.toml`: which commands run a system under test, what it needs, and what it promises.

docs/reference/protocol.md describes every key.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from harness.environments.base import Topology
from harness.errors import UsageError
from harness.history.promises import Promises
from harness.kit.harness_worker.actions import ACTIONS

FILE_NAME = "adapter.toml"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
PLACEHOLDER = re.compile(r"\{(\w*)\}")
PLACEHOLDERS = ("python", "folder", "queue", "workers", "concurrency", "lease", "graceful", "profile")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterFile:
    """The content of an adapter.toml with one profile applied; `folder` is where it is.

    An adapter without `requirements` runs in the harness's own Python. `actions` are what its handlers can do at their
    gate.
    """

    name: str
    folder: Path
    pool: tuple[str, ...]
    client: tuple[str, ...]
    profile: str = ""
    distribution: str | None = None
    requirements: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    topologies: tuple[Topology, ...] = ()
    actions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    promises: Promises = field(default_factory=Promises)
    profiles: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name with its profile, as on the command line: `celery@late`."""
        return f"{self.name}@{self.profile}" if self.profile else self.name


def read_adapter(path: Path, profile: str = "") -> AdapterFile:
    """Read an adapter.toml, or the one in a folder; raises `UsageError` that says what is wrong with it."""
    file = (path / FILE_NAME if path.is_dir() else path).resolve()
    table = _parsed(file)
    profiles = table.pop("profiles", {})
    if not _is_table(profiles) or not all(map(_is_table, profiles.values())):
        raise _wrong(file, "`profiles` is not a table of tables", "Write [profiles.NAME] tables")
    if profile and profile not in profiles:
        known = f"Choose one of {', '.join(profiles)}" if profiles else "Leave @ and the profile out"
        raise _wrong(file, f"there is no profile {profile!r}", known)
    values = _merged(table, profiles.get(profile, {}))
    _validate(file, values)
    return AdapterFile(
        name=values["name"],
        folder=file.parent,
        pool=tuple(values["pool"]),
        client=tuple(values["client"]),
        profile=profile,
        distribution=values.get("distribution"),
        requirements=tuple(values.get("requirements", ())),
        needs=tuple(values.get("needs", ())),
        topologies=tuple(map(Topology, values.get("topologies", ()))),
        actions=tuple(values.get("actions", _actions(values["pool"]))),
        settings=values.get("settings", {}),
        promises=_promises(file, values.get("promises", {})),
        profiles=tuple(profiles),
    )


def _actions(pool: Sequence[str]) -> Sequence[str]:
    """Those of the worker kit if the pool runs its Python; a worker without the kit has to name its own."""
    return ACTIONS if any("{python}" in word for word in pool) else ()


def _promises(file: Path, table: Mapping[str, Any]) -> Promises:
    try:
        return Promises.from_value(table)
    except ValueError as error:
        raise UsageError(f"{file}: {error}.") from None


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}. Name an adapter.toml or the folder that has one."
        ) from None
    except ValueError as error:
        raise _wrong(file, f"it is not TOML ({error})", "Correct it") from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of both; tables are merged key by key, anything else is replaced."""
    both = dict(base)
    for key, value in over.items():
        both[key] = _merged(both[key], value) if _is_table(value) and _is_table(both.get(key)) else value
    return both


def _is_table(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_topologies(value: object) -> bool:
    return isinstance(value, list) and all(one in list(Topology) for one in value)


def _is_actions(value: object) -> bool:
    return isinstance(value, list) and all(one in ACTIONS for one in value)


def _is_command(value: object) -> bool:
    return _is_list(value) and bool(value)


def _is_settings(value: object) -> bool:
    return _is_table(value) and all(isinstance(item, str) for item in value.values())


_COMMAND = 'a command as a list of texts, such as ["{python}", "pool.py"]'
_LIST = 'a list of texts, such as ["redis"]'
_KEYS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "name": (_is_text, 'a text, such as "rq"'),
    "distribution": (_is_text, 'a text, such as "rq"'),
    "requirements": (_is_list, 'a list of texts, such as ["rq>=2"]'),
    "needs": (_is_list, _LIST),
    "topologies": (_is_topologies, f"a list of {', '.join(Topology)}, which may be empty"),
    "actions": (_is_actions, f"a list of {', '.join(ACTIONS)}, which may be empty"),
    "pool": (_is_command, _COMMAND),
    "client": (_is_command, _COMMAND),
    "settings": (_is_settings, "a table of texts"),
    "promises": (_is_table, "a table"),
}
_REQUIRED = ("name", "pool", "client")


def _validate(file: Path, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"Did you mean {close[0]}?" if close else f"Use {', '.join(_KEYS)} or profiles."
            raise UsageError(f"{file}: there is no key {key!r}. {meant}")
        fits, wanted = _KEYS[key]
        if not fits(value):
            raise _wrong(file, f"`{key}` is {value!r}", f"Make it {wanted}")
    for key in _REQUIRED:
        if key not in values:
            raise _wrong(file, f"`{key}` is missing", f"Add it: {_KEYS[key][1]}")
    if not _NAME.fullmatch(values["name"]):
        raise _wrong(
            file,
            f"`name` is {values['name']!r}",
            "Use lower-case letters, digits, dots, hyphens and underscores, and a letter or digit first",
        )
    for key in ("pool", "client"):
        for word in values[key]:
            for placeholder in PLACEHOLDER.findall(word):
                if placeholder not in PLACEHOLDERS:
                    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                    raise _wrong(
                        file, f"`{key}` has the unknown placeholder {{{placeholder}}}", f"Use {known}"
                    )


def _wrong(file: Path, what: str, remedy: str) -> UsageError:
    return UsageError(f"{file}: {what}. {remedy}.")
