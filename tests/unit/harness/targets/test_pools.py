"""Pools as processes: found, watched, stopped and killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.checkers import exits
from harness.checkers.base import Verdict
from harness.errors import TargetFailed
from harness.history import History, OperationType, Recorder
from harness.history.workers import pool_starts
from harness.processes import is_alive
from harness.targets.base import TargetSettings
from harness.targets.body import worker_environment
from harness.targets.pools import Pools
from harness.targets.subprocess_pool import SubprocessPool

PARENT = """
import signal, subprocess, sys
children = []
def stop(*_):
    for child in children:
        child.kill()
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if {deaf} else stop)
print("parent says", "postgresql://user:hunter2@localhost/db")
children.append(subprocess.Popen([sys.executable, "-c", '''
from harness.targets.body import say_hello
say_hello()
import time; time.sleep(600)
''']))
children[0].wait()
"""


STOP = "    for child in children:\n        child.kill()\n    sys.exit(0)"
COUNTING = PARENT.replace(STOP, "    print('got SIGTERM', flush=True)").format(deaf=False)


class Session:
    """Starts a parent with one child, which ignores SIGTERM if it is `deaf`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deaf = False

    def start_pool(self) -> SubprocessPool:
        return self.start([sys.executable, "-c", PARENT.format(deaf=self.deaf)])

    def start(self, command: list[str], within: float = 30.0) -> SubprocessPool:
        settings = TargetSettings(
            queue="q", folder=self.folder, history=self.folder, gate_address="none", workers=1
        )
        environment = {
            "PYTHONPATH": ":".join(entry or "." for entry in sys.path),
            **worker_environment(self.folder, "none"),
        }
        return SubprocessPool.start(
            command, environment=environment, settings=settings, name="pool-1", within=within
        )


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


@pytest.fixture
def pools(session: Session, tmp_path: Path) -> Iterator[Pools]:
    recorder = Recorder(tmp_path / "pools.jsonl", process="pools")
    any_session: Any = session
    pools = Pools(any_session, recorder)
    yield pools
    pools.kill()
    recorder.close()


def test_a_pool_is_up_once_its_workers_have_recorded_their_start(pools: Pools, tmp_path: Path) -> None:
    pool = pools.start()
    [pid] = pool.worker_pids()
    assert (tmp_path / f"worker-{pid}.jsonl").exists()
    assert pools.owner(pid) is pool
    assert pools.owner(pid + 1) is None
    assert pools.running() == [pool]


def test_the_end_of_a_pool_is_recorded_with_its_exit_code(pools: Pools, tmp_path: Path) -> None:
    pool = pools.start()
    pools.terminate(within=20)
    assert (pool.code, pool.is_running) == (0, False)
    [end] = History.load(tmp_path).where("exit")
    assert (end.process, end.value) == ("pool-1", {"pid": pool.pid, "code": 0})
    assert pools.running() == []


def test_a_killed_pool_leaves_no_child_and_its_code_names_the_signal(pools: Pools, tmp_path: Path) -> None:
    pool = pools.start()
    [pid] = pool.worker_pids()
    pools.kill()
    assert pool.code == -9
    while is_alive(pid):
        continue
    assert pool.worker_pids() == []


def test_a_pool_gets_sigterm_once(
    session: Session, pools: Pools, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    """To RQ and Celery a second SIGTERM means to give up the running tasks."""
    command = [sys.executable, "-c", COUNTING]
    monkeypatch.setattr(session, "start_pool", lambda: session.start(command))
    pool = pools.start()
    pool.terminate()
    eventually(lambda: "got SIGTERM" in pool.log())
    with pytest.raises(TargetFailed, match="did not end"):
        pools.terminate(within=0.3)
    assert pool.log().count("got SIGTERM") == 1
    pools.kill()


def test_a_pool_that_ignores_sigterm_is_named(pools: Pools, session: Session, tmp_path: Path) -> None:
    session.deaf = True
    pool = pools.start()
    with pytest.raises(TargetFailed, match=r"pool-1 did not end within 0\.3 s of SIGTERM"):
        pools.terminate(within=0.3)
    pools.kill()
    found = exits()(History.load(tmp_path))
    assert found.verdict is Verdict.INVALID
    [example] = found.counterexamples
    assert example["why"] == f"pool-1 (pid {pool.pid}) did not end within 0.3 s of SIGTERM"


def test_the_start_of_a_pool_is_recorded_with_its_time(
    pools: Pools, session: Session, tmp_path: Path
) -> None:
    pool = pools.start()
    history = History.load(tmp_path)
    [start] = pool_starts(history)
    assert start.pool == "pool-1"
    assert start.took is not None
    [up] = history.where("start", OperationType.OK)
    assert up.value == {"pid": pool.pid, "pids": pool.worker_pids()}


def test_a_start_that_fails_is_recorded_without_a_time(
    pools: Pools, session: Session, tmp_path: Path
) -> None:
    def fails() -> SubprocessPool:
        raise TargetFailed("no workers")

    session.start_pool = fails  # type: ignore[method-assign]  # this start fails
    with pytest.raises(TargetFailed):
        pools.start()
    [start] = pool_starts(History.load(tmp_path))
    assert start.took is None


def test_a_pool_that_ends_at_once_fails_with_its_final_output_and_without_secrets(session: Session) -> None:
    words = "print('cannot reach postgresql://user:hunter2@localhost/db'); raise SystemExit(3)"
    with pytest.raises(TargetFailed, match="pool-1 ended with code 3 before its workers were up") as caught:
        session.start([sys.executable, "-c", words])
    assert "cannot reach" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(TargetFailed, match="before") as caught:
        session.start([sys.executable, "-c", "print('  ~~~^^^\\nan error'); raise SystemExit(3)"])
    assert "^" not in str(caught.value)


def test_a_pool_whose_workers_do_not_come_up_is_killed_and_named(session: Session) -> None:
    with pytest.raises(TargetFailed, match=r"had 0 of 1 worker up after 0\.2 s"):
        session.start(["sleep", "600"], within=0.2)


def test_a_command_that_is_not_there_is_named(session: Session) -> None:
    with pytest.raises(TargetFailed, match="no-such-command cannot be started"):
        session.start(["no-such-command"])
