"""The life of a worker process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import pytest

from agentexec.core import runtime
from agentexec.core.runtime import SystemRuntime, Thread
from agentexec.worker.child import Child
from agentexec.worker.protocol import ExitCode, WorkerSpec
from agentexec.worker.reference import PoolReference

if TYPE_CHECKING:
    from tests.conftest import Eventually


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


@pytest.mark.parametrize("threads", [0, 1])
def test_a_worker_without_threads_in_its_parent_is_not_started(threads: int, eventually: Eventually) -> None:
    """A limit of processes counts threads too; the supervisor tries again after an OSError."""
    spec = WorkerSpec(name="w", slot=0, reference=PoolReference(attribute="pool", module="nowhere"))
    open_files, children = psutil.Process().num_fds(), psutil.Process().children()
    with runtime.use(FewThreads(threads)), pytest.raises(OSError, match="can't start new thread"):
        Child(spec, lambda _: None)
    assert psutil.Process().children() == children
    eventually(lambda: psutil.Process().num_fds() == open_files)
