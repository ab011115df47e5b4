"""The gauge of memory: which processes it samples, and what of their memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.history import History, Operation, Recorder
from harness.run.memory_gauge import MemoryGauge
from harness.targets.user_pool import NO_PROCESS
from tests.conftest import Eventually

_TAKEN = 30 * 2**20
_PARENT = f"""
import subprocess, sys
taken = b"x" * {_TAKEN}
child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"])
child.wait()
"""


@pytest.fixture
def parent() -> Iterator[int]:
    """A process with a child, both up; its memory has 30 MiB of its own."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process.pid
        process.communicate("\n")


def sampled(folder: Path, pids: dict[str, int], eventually: Eventually) -> list[Operation]:
    """The samples of a gauge of these pools; two of them or more."""
    pools: Any = SimpleNamespace(running=lambda: [SimpleNamespace(name=n, pid=p) for n, p in pids.items()])
    with closing(Recorder(folder / "memory.jsonl", process="memory")) as recorder:
        with MemoryGauge(recorder, pools, period=0.02):
            eventually(lambda: len(list(History.load(recorder.path))) > 1)
        assert not [thread for thread in threading.enumerate() if thread.name == "memory"]
        return list(History.load(recorder.path))


def test_it_samples_a_parent_and_what_is_below_it_without_what_they_share_with_files(
    tmp_path: Path, parent: int, eventually: Eventually
) -> None:
    for sample in sampled(tmp_path, {"pool-1": parent}, eventually):
        assert (sample.process, sample.f) == ("memory", "memory")
        sizes = sample.value["pools"]["pool-1"]
        child = next(pid for pid in sizes if pid != str(parent))
        assert len(sizes) == 2
        assert 0 < sizes[child] < _TAKEN <= sizes[str(parent)] < 2 * _TAKEN


def test_a_pool_without_processes_on_this_machine_has_no_sample(
    tmp_path: Path, eventually: Eventually
) -> None:
    pools = {"pool-1": NO_PROCESS, "pool-2": os.getpid()}
    assert {"pool-2"} == {
        one for sample in sampled(tmp_path, pools, eventually) for one in sample.value["pools"]
    }
