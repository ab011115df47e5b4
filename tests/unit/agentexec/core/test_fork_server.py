"""The fork server of a pool, and the workers that it forks."""

from __future__ import annotations

import queue
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agentexec.core.fork_server import ForkServer
from agentexec.worker.child import Child, ChildEvent, Died
from agentexec.worker.protocol import ExitCode, WorkerSpec
from agentexec.worker.reference import PoolReference
from tests.conftest import Eventually

PATIENCE_SECONDS = 60.0


class Worker(Child):
    """A worker that imports `module`, with its events."""

    def __init__(self, server: ForkServer, module: str) -> None:
        self.events: queue.SimpleQueue[ChildEvent] = queue.SimpleQueue()
        reference = PoolReference(attribute="pool", module=module)
        super().__init__(server, WorkerSpec(name=module, slot=0, reference=reference), self.events.put)

    def end(self) -> Died:
        event = self.events.get(timeout=PATIENCE_SECONDS)
        assert isinstance(event, Died)
        return event


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that waits while it is imported, and has imported nothing itself."""
    (tmp_path / "waiting.py").write_text(
        "import sys, time\nassert 'psycopg' in sys.modules\nassert 'agentexec.worker.loop' in sys.modules\n"
        "import pathlib\npathlib.Path(__file__).with_name('here').touch()\nwhile True: time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "waiting"


def test_workers_are_forked_from_one_process_that_has_imported(
    waiting: str, tmp_path: Path, eventually: Eventually
) -> None:
    before = set(psutil.Process().children())
    with ForkServer() as server:
        first, second = Worker(server, waiting), Worker(server, "no_such_module")
        died = second.end()
        assert (died.code, "no_such_module" in died.reason) == (ExitCode.BROKEN, True)
        (process,) = set(psutil.Process().children()) - before
        eventually(lambda: (tmp_path / "here").exists(), deadline=PATIENCE_SECONDS)
        assert [one.pid for one in process.children()] == [first.pid]
        first.kill()
        assert first.end().code == -9
    assert not process.is_running()


def test_workers_outlive_their_fork_server_and_the_next_one_has_another(
    waiting: str, tmp_path: Path, eventually: Eventually
) -> None:
    before = set(psutil.Process().children())
    with ForkServer() as server:
        worker = Worker(server, waiting)
        eventually(lambda: (tmp_path / "here").exists(), deadline=PATIENCE_SECONDS)
        (process,) = set(psutil.Process().children()) - before
        process.kill()
        eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
        assert psutil.pid_exists(worker.pid)
        assert Worker(server, "no_such_module").end().code == ExitCode.BROKEN
        worker.kill()
        assert worker.end().code == ExitCode.FAILED


def test_the_command_imports_nothing_that_takes_long_before_its_fork_server_starts() -> None:
    heavy = ("sqlalchemy", "redis", "pydantic", "psutil", "psycopg", "asyncio")
    script = f"import agentexec.cli.worker, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_does_not_import_psutil() -> None:
    script = "import agentexec.worker.process, sys; print('psutil' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
