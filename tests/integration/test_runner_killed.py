"""SIGKILL of the runner in the middle of a fault: the fault ends, and nothing of the run is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path

import psutil
import pytest

from tests.conftest import Eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# A frozen server, busy processes and bound workers, a forked child, a server in another state, seven servers.
SCENARIOS = ("stall-postgres", "starve-workers", "kill-forked-worker", "fill-redis", "fail-over-redis")


def processes_of(folder: Path) -> list[str]:
    """The processes whose temporary folder this is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:
            continue
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name, because sockets are below it, that the user of Postgres may enter."""
    with tempfile.TemporaryDirectory(prefix="k-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def is_clean(folder: Path) -> bool:
    return not processes_of(folder) and not list(folder.glob("hx-*"))


def started(name: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "harness",
        "chaos",
        "run",
        name,
        "--tasks",
        "60",
        "--report",
        str(folder / "report"),
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_nothing_is_left_of_a_fault_whose_runner_is_killed(place: Path, eventually: Eventually) -> None:
    runners = {
        place / str(number): started(name, place / str(number)) for number, name in enumerate(SCENARIOS)
    }
    for folder, runner in runners.items():
        assert runner.stdout is not None
        lines = list(takewhile(lambda line: "fault 1 of" not in line, iter(runner.stdout.readline, "")))
        assert len(processes_of(folder)) > 1
        os.kill(runner.pid, signal.SIGKILL)
        assert runner.wait() == -signal.SIGKILL, lines
        runner.stdout.close()
    for folder in runners:
        eventually(partial(is_clean, folder), deadline=60.0)
