"""Programs as forks of a fork server: each is a process of its own, which differs in nothing but its start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.processes import is_alive
from harness.targets.programs import Program, fork_server, start_program
from tests.conftest import Eventually

PATIENCE_SECONDS = 30.0
SHOWING = """
import json, os, sys, signal, template
print(json.dumps({
    "pid": os.getpid(), "session": os.getsid(0), "folder": os.getcwd(), "arguments": sys.argv[1:],
    "environment": dict(os.environ), "imported_by": template.pid, "main": __name__,
    "ends": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, "descriptors": len(os.listdir("/dev/fd")),
    "input": sys.stdin.read(),
}))
sys.exit(3)
"""
WAITING = "import signal; signal.pause()"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("modules")
    for name, text in (
        ("template", "import os; pid = os.getpid()"),
        ("showing", SHOWING),
        ("waiting", WAITING),
    ):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def server(modules: Path) -> Iterator[str]:
    with fork_server(modules / "s", ["template"]) as address:
        yield address


Start = Callable[..., Program]


@pytest.fixture
def start(server: str, tmp_path: Path) -> Start:
    """Start a module with a text as its input; its output goes to `output`."""

    def started(module: str, *arguments: str, text: str = "", address: str | None = server) -> Program:
        (tmp_path / "input").write_text(text, encoding="utf-8")
        with (tmp_path / "input").open("rb") as given, (tmp_path / "output").open("wb") as output:
            return start_program(
                [sys.executable, "-m", module, *arguments],
                environment={"MARK": module, "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(sys.path)},
                folder=tmp_path,
                streams=(given.fileno(), output.fileno(), output.fileno()),
                fork_server=address,
            )

    return started


def test_a_fork_differs_from_a_program_in_what_it_has_imported_and_in_nothing_else(
    start: Start, tmp_path: Path
) -> None:
    shown: list[dict[str, Any]] = []
    for address in ({}, {"address": None}):
        program = start("showing", "a", "b", text="given", **address)
        assert program.wait(PATIENCE_SECONDS) == program.returncode == 3
        found = json.loads((tmp_path / "output").read_text(encoding="utf-8"))
        assert found.pop("pid") == found.pop("session") == program.pid
        shown.append(found)
        assert (found.pop("imported_by") == program.pid) is bool(address)
    assert shown[0] == shown[1]
    assert shown[0]["environment"]["MARK"] == "showing"


def test_the_end_of_a_fork_is_known_to_every_thread_that_waits(start: Start, eventually: Eventually) -> None:
    program, codes = start("waiting"), list[int]()
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0)
    threads = [threading.Thread(target=lambda: codes.append(program.wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    program.kill()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert codes == 3 * [-signal.SIGKILL]
    eventually(lambda: not is_alive(program.pid))


def test_forks_outlive_their_fork_server_and_a_server_that_has_ended_forks_no_more(
    start: Start, modules: Path, eventually: Eventually
) -> None:
    with fork_server(modules / "t", ["template"]) as address:
        program = start("waiting", address=address)
    assert is_alive(program.pid)
    with pytest.raises(OSError, match="fork server has ended"):
        program.wait(PATIENCE_SECONDS)
    program.kill()
    eventually(lambda: not is_alive(program.pid))
    with pytest.raises(OSError, match="refused"):
        start("waiting", address=address)


def test_a_fork_server_runs_modules_of_its_own_interpreter_only(server: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and not /bin/true"):
        start_program(["/bin/true"], environment={}, folder=tmp_path, streams=(0, 1, 2), fork_server=server)
