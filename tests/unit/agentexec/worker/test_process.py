"""The life of a worker process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import SupportsIndex
from unittest.mock import Mock

import psutil
import pytest
import redis

from agentexec.core import runtime
from agentexec.core.fork_server import ForkServer
from agentexec.core.runtime import SystemRuntime, Thread
from agentexec.worker.child import Child
from agentexec.worker.loop import HOUSEKEEPING
from agentexec.worker.process import Worker
from agentexec.worker.protocol import ExitCode, WorkerSpec
from agentexec.worker.reference import PoolReference


def test_a_defect_of_the_start_leaves_its_traceback() -> None:
    """The process ends itself, before the interpreter would write it."""
    code = "from agentexec.worker.process import end_with; end_with({})"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == ExitCode.FAILED
    assert "Traceback" in ended.stderr
    assert "KeyError: 'sys_path'" in ended.stderr


class FewThreads(SystemRuntime):
    """A system that starts so many threads and no more."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spawn(self, work: Callable[[], None], *, name: str) -> Thread:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("can't start new thread")
        return super().spawn(work, name=name)


def test_a_worker_without_a_thread_in_its_parent_is_not_started() -> None:
    """A limit of processes counts threads too; the supervisor tries again after an OSError."""
    spec = WorkerSpec(name="w", slot=0, reference=PoolReference(attribute="pool", module="nowhere"))
    open_files = psutil.Process().num_fds()
    with (
        ForkServer() as server,
        runtime.use(FewThreads(0)),
        pytest.raises(OSError, match="can't start new thread"),
    ):
        Child(server, spec, lambda _: None)
    assert psutil.Process().num_fds() == open_files


class Sleeps(SystemRuntime):
    """Ends what sleeps, and keeps for how long it would have."""

    seconds = 0.0

    def sleep(self, seconds: float | SupportsIndex, /) -> None:
        self.seconds = float(seconds)
        raise InterruptedError


def test_an_idle_worker_listens_again_within_a_second_after_redis_was_away() -> None:
    """Until then only its own look, once a second, finds a new task."""
    queue, idle, worker = Mock(), threading.Event(), Worker.__new__(Worker)
    queue.wait.side_effect = redis.ConnectionError
    idle.set()
    worker._worker_loop = Mock(queue=queue, idle=idle, next_look=HOUSEKEEPING)
    system = Sleeps()
    with runtime.use(system), pytest.raises(InterruptedError):
        worker._wait()
    assert 0 < system.seconds <= HOUSEKEEPING


class Steps(threading.Event):
    """Set after each step of a worker; to wait for one that does not come ends the test."""

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            raise InterruptedError
        return True


def test_an_idle_worker_listens_again_only_after_the_step_that_says_how_long() -> None:
    """Also if a step was made while it listened: what that one said is old when the listening ends."""
    queue, idle, worker = Mock(), Steps(), Worker.__new__(Worker)
    queue.wait.side_effect = lambda _: idle.set() if queue.wait.call_count == 1 else queue.too_early()
    queue.too_early.side_effect = AssertionError("it listens for as long as an old step said")
    idle.set()
    worker._worker_loop = Mock(queue=queue, idle=idle, next_look=HOUSEKEEPING)
    with pytest.raises(InterruptedError):
        worker._wait()
    worker._worker_loop.wake.assert_called_once_with()
