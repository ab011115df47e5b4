"""A process is certainly dead only if it is: what a host hides from this process is no sign of death."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentexec.core import identity
from agentexec.core.identity import host_identity, is_certainly_dead, process_identity

# In a mount namespace of its own, as a user who may not see the processes of others.
HIDDEN = """
import os, subprocess, sys
from pathlib import Path
from agentexec.core.identity import is_certainly_dead
living, dead, reused = sys.argv[1:]
is_certainly_dead(living)  # so that all code is loaded: that user may not read it
subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
assert not Path(f"/proc/{living.split('|')[1]}").exists(), "the host hides nothing"
print([is_certainly_dead(one) for one in (living, dead, reused)])
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A living process."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def dead_identity() -> str:
    process = subprocess.Popen(["sleep", "600"])
    found = process_identity(process.pid)
    process.kill()
    process.wait()
    return found


def test_a_host_that_hides_the_processes_of_others_makes_none_look_dead(
    child: subprocess.Popen[bytes],
) -> None:
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("only root may mount another /proc")
    living = process_identity(child.pid)
    reused = f"{host_identity()}|{child.pid}|1"  # whether it was reused cannot be seen either
    run = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", HIDDEN, living, dead_identity(), reused],
        capture_output=True,
        text=True,
    )
    assert run.stdout == "[False, True, False]\n", run.stderr


def test_a_hidden_process_of_another_user_is_alive(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without the rights of root: /proc shows nothing of it, and it takes no signal of ours."""
    living = process_identity(child.pid)
    read = identity._read
    monkeypatch.setattr(identity, "_read", lambda path: None if str(child.pid) in path else read(path))

    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_certainly_dead(living)


def test_a_proc_of_other_pids_says_nothing(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container with the /proc of its host reads another process under the same PID."""
    living, read = process_identity(child.pid), identity._read

    def of_the_host(path: str) -> str | None:
        text = read(path)
        return "99999999 (python) S 1 1 1 0 -1" if path == "/proc/self/stat" and text else text

    monkeypatch.setattr(identity, "_read", of_the_host)
    assert not is_certainly_dead(living)
    assert not is_certainly_dead(f"{host_identity()}|{child.pid}|1")
    mine = process_identity()
    assert mine.endswith("|"), "its own start is unknown too"
    assert not is_certainly_dead(mine)


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_processes_of_another_namespace_are_not_judged(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another time namespace shows another start time of the same process."""
    dead = dead_identity()
    assert is_certainly_dead(dead)
    namespace = identity._namespace
    monkeypatch.setattr(identity, "_namespace", lambda one: "other" if one == kind else namespace(one))
    assert not is_certainly_dead(dead)


def test_processes_of_a_copy_of_this_machine_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of a virtual machine keeps the boot of its original."""
    dead = dead_identity()
    monkeypatch.setattr("socket.gethostname", lambda: "copy")
    assert not is_certainly_dead(dead)


def test_two_hosts_without_proc_and_with_one_name_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_read", lambda _: None)
    monkeypatch.setattr("uuid.getnode", lambda: 1)
    one = host_identity()
    monkeypatch.setattr("uuid.getnode", lambda: 2)
    assert host_identity() != one


@pytest.mark.parametrize("pid", ["0", "-1", "\N{SUPERSCRIPT TWO}", "99999999999999999999", "1.5", ""])
def test_a_pid_that_is_none_is_no_dead_process(pid: str) -> None:
    assert not is_certainly_dead(f"{host_identity()}|{pid}|1")


def test_the_first_process_is_alive_for_everyone() -> None:
    started = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_certainly_dead(f"{host_identity()}|1|{started}")
