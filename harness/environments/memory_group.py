"""A memory cgroup of a run, version 1 or 2: the kernel kills a process in it that takes more than its limit.

It is a group below that of this process, so the limits of that one hold too. In version 2, a group with processes
cannot have limited groups below it: the new one is beside it, below a parent that limits memory. The reaper removes the
group if the runner is killed. Sources: "Memory Resource Controller" and "Control Group v2" of the kernel's
documentation, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html and .../admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.environments import reaper
from harness.errors import GateError

_PROC = Path("/proc")
_CONTROLLER = "memory"
_VERSION_1, _VERSION_2 = "cgroup", "cgroup2"
_REMOVAL_SECONDS, _POLL_SECONDS = 5.0, 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryGroup:
    """A group with a limit; `origins` are the groups that its processes had before."""

    path: Path
    origins: dict[int, Path]

    def take(self, pid: int) -> None:
        """Move a process into the group; what it has used so far stays with the group that it had."""
        for own in groups_of(pid).values():
            self.origins[pid] = own
        _write(self.path / "cgroup.procs", str(pid))

    @property
    def kills(self) -> int:
        """How many of its processes the kernel has killed for their memory."""
        name = "memory.events" if _version_of(self.path) == _VERSION_2 else "memory.oom_control"
        lines = (self.path / name).read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def why_no_group(proc: Path = _PROC) -> str | None:
    """Why this process cannot make a memory cgroup, as in `this machine has no memory cgroups`; None if it can."""
    groups = groups_of("self", proc)
    if not groups:
        return "this machine has no memory cgroups"
    return None if _parent(groups) is not None else "this process may not make one below its own"


@contextmanager
def memory_group(folder: Path, name: str, limit_bytes: int) -> Iterator[MemoryGroup]:
    """A group with a limit; at the end, its processes are in their groups again, and it is removed.

    `folder` is that of the session. Raises `GateError` if the machine gives none.
    """
    parent = _parent(groups_of("self"))
    if parent is None:
        raise GateError(
            f"there is no memory cgroup: {why_no_group()}. Run as root, or in a delegated cgroup."
        )
    group = MemoryGroup(path=parent / f"{folder.name}-{name}", origins={})
    with (folder / reaper.MEMORY_GROUPS).open("a", encoding="utf-8") as noted:
        noted.write(f"{group.path}\n")  # before it exists, so that the reaper removes it
    try:
        group.path.mkdir()
        for file, value in _limits(group.path, limit_bytes).items():
            _write(group.path / file, value)
        yield group
    except OSError as error:
        raise GateError(
            f"a memory cgroup refuses: {error.strerror} ({error.filename}). Run as root."
        ) from None
    finally:
        _remove(group)


def _limits(group: Path, limit_bytes: int) -> Mapping[str, str]:
    """The files of the limit, which holds with swap too where the kernel counts it."""
    if _version_of(group) == _VERSION_2:
        found = {"memory.max": str(limit_bytes), "memory.swap.max": "0"}
    else:
        found = dict.fromkeys(("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), str(limit_bytes))
    return {name: value for name, value in found.items() if (group / name).exists()}


def _remove(group: MemoryGroup) -> None:
    for pid, origin in group.origins.items():
        with suppress(OSError):  # it has ended
            _write(origin / "cgroup.procs", str(pid))
    end = time.monotonic() + _REMOVAL_SECONDS
    while group.path.exists() and time.monotonic() < end:
        with suppress(OSError):  # the kernel still removes a process from it
            group.path.rmdir()
            return
        time.sleep(_POLL_SECONDS)


def groups_of(pid: int | str, proc: Path = _PROC) -> dict[str, Path]:
    """The folders of the groups of a process that may limit memory, by the version of cgroups."""
    try:
        mounts = (proc / str(pid) / "mountinfo").read_text("utf-8").splitlines()
        member = (proc / str(pid) / "cgroup").read_text("utf-8").splitlines()
    except OSError:  # not Linux, or the process has ended
        return {}
    paths = {}
    for line in member:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            paths[_VERSION_2] = path
        elif _CONTROLLER in controllers.split(","):
            paths[_VERSION_1] = path
    found = {}
    for line in mounts:
        place, _, kind = line.partition(" - ")
        root, mounted = place.split()[3:5]
        version, _, options = kind.split(maxsplit=2)
        if version not in paths or (version == _VERSION_1 and _CONTROLLER not in options.split(",")):
            continue
        inside = os.path.relpath(paths[version], root)
        found[version] = Path(mounted) if inside.startswith("..") else Path(mounted, inside)
    # With both, a controller is in one of them.
    return {_VERSION_1: found[_VERSION_1]} if _VERSION_1 in found else found


def _parent(groups: Mapping[str, Path]) -> Path | None:
    """The folder in which a group that limits memory can be made, if there is one."""
    if _VERSION_1 in groups:
        places = [groups[_VERSION_1]]
    else:
        places = [place for own in groups.values() for place in (own, own.parent) if _gives_limits(place)]
    return next((place for place in places if os.access(place, os.W_OK)), None)


def _gives_limits(place: Path) -> bool:
    try:
        return _CONTROLLER in (place / "cgroup.subtree_control").read_text("ascii").split()
    except OSError:
        return False


def _version_of(group: Path) -> str:
    return _VERSION_2 if (group / "cgroup.controllers").exists() else _VERSION_1


def _write(file: Path, text: str) -> None:
    file.write_text(text, "ascii")
