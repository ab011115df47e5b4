"""A session and its reaper, on plain processes: what belongs is removed, what does not is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.environments import reaper
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable
from harness.processes import is_alive
from tests.conftest import Eventually

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def session() -> Iterator[Session]:
    opened = Session.open()
    yield opened
    opened.close()


def started(command: list[str], **options: object) -> subprocess.Popen[bytes]:
    """A process that has begun; its streams are closed and its end is taken by `ended`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    assert process.stdout is not None
    assert process.stdout.readline()
    return process  # type: ignore[no-any-return]


def ended(process: subprocess.Popen[bytes]) -> int:
    with process:
        return process.wait(10)


def arguments_of(process: psutil.Process) -> set[str]:
    """The command line of a process; empty for one that has ended, as another test's child may."""
    try:
        return set(process.cmdline())
    except psutil.Error:
        return set()


@pytest.fixture
def reaper_process(session: Session, eventually: Eventually) -> psutil.Process:
    """The session's reaper, once it runs its own program."""
    wanted = {session.id, str(session.folder)}
    found: list[psutil.Process] = eventually(
        lambda: [child for child in psutil.Process().children() if wanted <= arguments_of(child)]
    )
    assert len(found) == 1
    return found[0]


def test_closing_kills_children_that_inherit_the_mark_and_removes_the_folder(session: Session) -> None:
    child = started(SLEEPER)
    (session.folder / "deep").mkdir()
    (session.folder / "deep" / "file").write_text("text")
    session.close()
    assert ended(child) == -9
    assert not session.folder.exists()
    assert session.closed


def test_closing_kills_by_working_folder_without_the_session_variable(session: Session) -> None:
    folder = session.folder / "server"
    folder.mkdir()
    child = started(SLEEPER, env={}, cwd=folder, start_new_session=True)
    session.close()
    assert ended(child) == -9


def test_closing_kills_the_children_of_what_it_kills(session: Session) -> None:
    body = (
        "import subprocess, sys;"
        "p = subprocess.Popen(sys.argv[1:], env={}, cwd='/', start_new_session=True, stdout=subprocess.DEVNULL);"
        "print(p.pid, flush=True); p.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", body, *SLEEPER], stdout=subprocess.PIPE)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    session.close()
    assert ended(process) == -9
    assert not is_alive(grandchild)


def test_what_does_not_belong_is_left_alone(session: Session, tmp_path: Path) -> None:
    environment = {**os.environ, "HARNESS_SESSION": f"{session.id}-of-another"}
    beside = session.folder.with_name(session.folder.name + "-beside")
    beside.mkdir()
    strangers = [
        started(SLEEPER, env=environment),
        started(SLEEPER, env={}, cwd=tmp_path),
        started(SLEEPER, env={}, cwd=beside),
    ]
    try:
        session.close()
        assert [stranger.poll() for stranger in strangers] == [None, None, None]
        assert beside.exists()
    finally:
        for stranger in strangers:
            stranger.kill()
            ended(stranger)
        beside.rmdir()


def test_the_reaper_ends_with_the_session(session: Session, reaper_process: psutil.Process) -> None:
    session.close()
    assert not reaper_process.is_running()


def test_closing_twice_is_closing_once(session: Session) -> None:
    session.close()
    session.close()
    assert session.closed


def test_the_reaper_has_no_stream_of_the_runner_and_its_own_session(
    reaper_process: psutil.Process,
) -> None:
    assert os.getsid(reaper_process.pid) == reaper_process.pid
    descriptors = Path(f"/proc/{reaper_process.pid}/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    assert {(descriptors / number).readlink() for number in ("1", "2")} == {Path("/dev/null")}


def test_the_mark_is_set_for_children_while_a_session_is_open() -> None:
    before = os.environ.get("HARNESS_SESSION")
    outer = Session.open()
    inner = Session.open()
    assert os.environ["HARNESS_SESSION"] == inner.id
    assert inner.environment() == {"HARNESS_SESSION": inner.id}
    outer.close()
    assert os.environ["HARNESS_SESSION"] == inner.id
    inner.close()
    assert os.environ.get("HARNESS_SESSION") == before


def test_a_session_within_a_session_is_cleaned_up_by_its_own_reaper(
    session: Session, eventually: Eventually
) -> None:
    body = (
        "import subprocess, sys; from harness.environments.session import Session; s = Session.open();"
        "p = subprocess.Popen(sys.argv[1:], env={}, cwd=s.folder, start_new_session=True, stdout=subprocess.DEVNULL);"
        "print(s.folder, p.pid, flush=True); p.wait()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", body, *SLEEPER], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    folder, pid = process.stdout.readline().decode().split()
    child = int(pid)
    session.close()
    assert ended(process) == -9
    eventually(lambda: not Path(folder).exists())
    assert not is_alive(child)


def test_a_forked_child_neither_closes_the_session_nor_keeps_it(session: Session) -> None:
    script = """
import os, sys
from harness.environments.session import Session
session = Session.open()
child = os.fork()
if child == 0:
    session.close()
    sys.exit(0)
os.waitpid(child, 0)
print(session.folder.exists())
session.close()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_forked_child_that_outlives_the_runner_does_not_hold_the_reaper_back(
    eventually: Eventually,
) -> None:
    script = """
import os, signal, time
from harness.environments.session import Session
session = Session.open()
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(600)
print(session.folder, child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    folder, child = done.stdout.split()
    try:
        eventually(lambda: not Path(folder).exists())
    finally:
        os.kill(int(child), 9)


def test_a_reaper_that_is_gone_is_noticed(
    session: Session, reaper_process: psutil.Process, eventually: Eventually
) -> None:
    session.require_reaper()
    reaper_process.kill()
    eventually(lambda: reaper_process.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(EnvironmentUnavailable, match="psutil"):
        session.require_reaper()


def test_a_temporary_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(EnvironmentUnavailable, match="TMPDIR"):
        Session.open()


def test_the_folder_is_short_enough_for_sockets_and_closed_to_others(session: Session) -> None:
    assert session.folder.name.startswith("hx-")
    assert len(session.folder.name) <= 12
    assert session.folder.stat().st_mode & 0o066 == 0


def test_a_folder_of_another_name_is_never_removed(tmp_path: Path) -> None:
    reaper.remove_folder(tmp_path)
    assert tmp_path.exists()


def test_a_process_that_will_not_go_is_reported_in_time() -> None:
    assert not reaper.kill_until_gone(lambda: [Immortal()], patience=0.1)  # type: ignore[list-item]


class Immortal:
    def kill(self) -> None:
        pass
