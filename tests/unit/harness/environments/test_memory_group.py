"""Where a memory cgroup can be made, on machines of both versions, and that the reaper removes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.environments import memory_group, reaper
from harness.environments.memory_group import why_no_group

Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose groups are folders below `groups`; returns its `/proc`."""

    def make(*, member: str, mounts: list[str]) -> Path:
        own = tmp_path / "proc" / "self"
        own.mkdir(parents=True)
        (own / "cgroup").write_text(member)
        lines = [f"1 0 0:1 {mount.replace('GROUPS', str(tmp_path / 'groups'))}\n" for mount in mounts]
        (own / "mountinfo").write_text("".join(lines))
        monkeypatch.setattr(memory_group, "_PROC", own.parent)
        return own.parent

    return make


def folder(path: Path, controllers: str | None = None) -> Path:
    path.mkdir(parents=True)
    if controllers is not None:
        (path / "cgroup.subtree_control").write_text(controllers)
    return path


def parent_on(proc: Path) -> Path | None:
    return memory_group._parent(memory_group.groups_of("self", proc))


def test_in_version_1_it_is_below_the_group_of_this_process(machine: Machine, tmp_path: Path) -> None:
    own = folder(tmp_path / "groups" / "memory" / "one")
    proc = machine(
        member="4:memory:/outer/one\n2:cpu:/\n0::/\n",
        mounts=[
            "/ GROUPS/cpu rw - cgroup cgroup rw,cpu",
            "/outer GROUPS/memory rw - cgroup cgroup rw,memory",
            "/ GROUPS/unified rw - cgroup2 cgroup2 rw",
        ],
    )
    assert parent_on(proc) == own
    assert why_no_group(proc) is None


def test_in_version_2_it_is_beside_the_group_of_this_process(machine: Machine, tmp_path: Path) -> None:
    user = folder(tmp_path / "groups" / "user", "cpu memory\n")
    folder(user / "session", "")
    proc = machine(member="0::/user/session\n", mounts=["/ GROUPS rw - cgroup2 cgroup2 rw"])
    assert parent_on(proc) == user
    assert why_no_group(proc) is None


@pytest.mark.parametrize(
    ("member", "mounts", "why"),
    [
        ("", [], "has no memory cgroups"),
        ("2:cpu:/\n", ["/ GROUPS/cpu rw - cgroup cgroup rw,cpu"], "has no memory cgroups"),
        ("0::/user/session\n", ["/ GROUPS rw - cgroup2 cgroup2 rw"], "may not make one"),
    ],
)
def test_a_machine_without_such_a_place_says_so(
    machine: Machine, tmp_path: Path, member: str, mounts: list[str], why: str
) -> None:
    folder(tmp_path / "groups" / "user" / "session", "cpu\n")
    found = why_no_group(machine(member=member, mounts=mounts))
    assert found is not None
    assert why in found


@pytest.mark.parametrize("version", [1, 2])
def test_its_limit_holds_with_swap_and_its_kills_are_counted(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"),
        2: ("memory.max", "memory.swap.max", "memory.events"),
    }[version]
    group = tmp_path / f"{tmp_path.name}-1"
    monkeypatch.setattr(memory_group, "groups_of", lambda pid: {})
    monkeypatch.setattr(memory_group, "_parent", lambda groups: tmp_path)
    made = Path.mkdir

    def mkdir(path: Path) -> None:
        made(path)
        for name in (*files, *(["cgroup.controllers"] if version == 2 else [])):
            (path / name).write_text("")
        (path / files[2]).write_text("low 0\noom_kill 3\n")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(memory_group, "_REMOVAL_SECONDS", 0.0)
    with memory_group.memory_group(tmp_path, "1", 4096) as found:
        assert found.path == group
        assert (group / files[0]).read_text() == "4096"
        assert (group / files[1]).read_text() == ("4096" if version == 1 else "0")
        assert found.kills == 3


def test_the_reaper_removes_the_groups_that_a_session_has_noted(tmp_path: Path) -> None:
    session = folder(tmp_path / "hx-1")
    left = folder(tmp_path / "groups" / "hx-1-1")
    (session / reaper.MEMORY_GROUPS).write_text(f"{tmp_path / 'groups' / 'removed'}\n{left}\n")
    reaper.sweep("no-such-session", session, ())
    assert not left.exists()
    assert not session.exists()
