"""Nothing of a run is left behind, on each backend: after a normal end, a failure, Ctrl-C, SIGKILL of the runner."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.processes import is_alive
from tests.conftest import Eventually
from tests.integration.environments.conftest import Traces, segments_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

BACKENDS = ["embedded", pytest.param("containers", marks=pytest.mark.containers)]

# A runner with servers and with children of every kind: one that is marked by its environment, one that only works in
# the folder, and one with neither whose parent belongs.
RUNNER = """
import json, subprocess, sys
from harness.environments import make_environment
from harness.environments.base import Topology
from harness.environments.topologies import make_topology

backend, ending = sys.argv[1:]
sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
parent = [sys.executable, "-c", "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], env={}, cwd='/',"
          " start_new_session=True); p.wait()", *sleeper]

def start(command, **options):
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, **options)
    child.stdout.readline()
    return child

pooled = backend == "pgbouncer"
with make_topology(Topology.PGBOUNCER, backend="containers") if pooled else make_environment(backend) as environment:
    children = [start(sleeper), start(sleeper, env={}, cwd=environment.folder), start(parent)]
    print(json.dumps({"session": environment.session.id, "folder": str(environment.folder)}), flush=True)
    if ending == "failure":
        raise RuntimeError("the scenario failed")
    if ending == "wait":
        sys.stdin.readline()
"""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "containers":
        request.getfixturevalue("docker_engine")
    return str(request.param)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the session's."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        assert process.poll() is None, "a process outside the session was killed"
        process.kill()


@contextlib.contextmanager
def runner(backend: str, ending: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, backend, ending],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def traces_of(process: subprocess.Popen[str], temporary: Path) -> Traces:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        pytest.fail(f"the runner did not start: {process.stderr.read()}")
    said = json.loads(line)
    folder = Path(said["folder"])
    return Traces(session=said["session"], folder=folder, temporary=temporary, segments=segments_of(folder))


@pytest.mark.parametrize(("ending", "code"), [("normal", 0), ("failure", 1)])
def test_nothing_is_left_when_the_runner_has_ended_by_itself(
    backend: str, ending: str, code: int, public_folder: Path, bystander: subprocess.Popen[bytes]
) -> None:
    with runner(backend, ending, public_folder) as process:
        traces = traces_of(process, public_folder)
        process.communicate(timeout=60)
        assert process.returncode == code
        # At once: the runner itself has cleaned up before it ended.
        assert traces.left() == {}


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, as a terminal sends it: to the whole process group."""
    os.killpg(process.pid, signal.SIGINT)


def terminate(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGTERM)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("end", [interrupt, terminate, kill, kill_group])
def test_nothing_is_left_when_the_runner_is_ended_from_outside(
    backend: str,
    end: Callable[[subprocess.Popen[str]], None],
    public_folder: Path,
    bystander: subprocess.Popen[bytes],
    eventually: Eventually,
) -> None:
    pooled = backend == "containers" and end is kill
    with runner("pgbouncer" if pooled else backend, "wait", public_folder) as process:
        traces = traces_of(process, public_folder)
        assert traces.left().keys() >= {"processes", "folder"}
        if pooled:
            assert len(traces.containers()) == 4, "Redis, Postgres, PgBouncer, and the pod of the last two"
        end(process)
        process.communicate(timeout=60)
        assert process.returncode != 0
        eventually(lambda: not traces.left(), deadline=30)


def exists(pattern: str) -> Callable[[Path], bool]:
    return lambda temporary: any(temporary.glob(pattern))


@pytest.mark.parametrize(
    ("backend", "moment"),
    [
        pytest.param("embedded", exists("hx-*"), id="embedded-when-the-session-opens"),
        pytest.param("embedded", exists("hx-*/postgres/data/base"), id="embedded-during-initdb"),
        pytest.param("embedded", exists("hx-*/postgres/data/postmaster.pid"), id="embedded-at-launch"),
        pytest.param(
            "containers",
            exists("hx-*/engine"),
            marks=pytest.mark.containers,
            id="containers-at-creation",
        ),
    ],
)
def test_nothing_is_left_when_the_runner_is_killed_while_it_starts(
    backend: str,
    moment: Callable[[Path], bool],
    public_folder: Path,
    request: pytest.FixtureRequest,
    eventually: Eventually,
) -> None:
    if backend == "containers":
        request.getfixturevalue("docker_engine")
    with runner(backend, "wait", public_folder) as process:
        eventually(lambda: moment(public_folder), every=0.001)
        process.kill()
        folder = next(iter(public_folder.glob("hx-*")), None)
        assert folder is not None
        reapers = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or [])]
        assert len(reapers) == 1
        traces = Traces(session=reapers[0].info["cmdline"][-4], folder=folder, temporary=public_folder)
        process.communicate(timeout=60)
        eventually(lambda: not is_alive(reapers[0].pid), deadline=30)
        assert traces.left() == {}
