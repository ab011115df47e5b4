"""CPU and memory of processes: also of those that begin and end between two looks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from harness.load.process_group import ProcessGroup

WORK = "import time\nwhile time.process_time() < 0.3: pass\n"
PARENT = f"""import subprocess, sys
sys.stdin.read(1)
subprocess.run([sys.executable, "-c", {WORK!r}])
print("done", flush=True)
sys.stdin.read()
"""


def test_the_cpu_of_a_process_counts_from_the_first_look() -> None:
    group = ProcessGroup()
    assert group.look([os.getpid()])[0] == 0
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    used, memory = group.look([os.getpid()])
    assert 0.1 < used < 10
    assert memory > 1_000_000


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux adds the CPU of ended children to their parent")
def test_a_process_that_began_and_ended_between_two_looks_counts_by_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        group = ProcessGroup()
        group.look([], parent=parent.pid)
        parent.stdin.write(b"x")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"done\n"
        assert group.look([], parent=parent.pid)[0] >= 0.3
        parent.stdin.close()


def test_a_process_that_has_ended_takes_nothing_away(eventually: Callable[..., object]) -> None:
    group = ProcessGroup()
    with subprocess.Popen([sys.executable, "-c", WORK + "input()"], stdin=subprocess.PIPE) as child:
        group.look([os.getpid()])
        eventually(lambda: group.look([os.getpid(), child.pid])[0] >= 0.3, 30)
        before = group.look([os.getpid(), child.pid])[0]
        child.kill()
    assert group.look([os.getpid(), child.pid])[0] >= before
    assert group.look([])[1] == 0


def test_a_child_that_its_parent_has_not_noticed_yet_is_counted_once() -> None:
    """A server restarts, and later one of its children is seen nowhere for a moment."""
    looks = iter(
        [
            {1: 1.0, -1: 0.0, 2: 3.0},
            {1: 1.0, -1: 0.0},  # 2 has ended
            {1: 1.0, -1: 3.5},
            {7: 0.1, -7: 0.0},  # another server
            {7: 0.3, -7: 0.0},
        ]
    )
    group, used = ProcessGroup(), []
    for now in looks:
        group._add(now, next(iter(now)))
        used.append(round(group._used, 3))
    assert used == [0, 0, 0.5, 0.5, 0.7]


def test_processes_and_servers_that_began_between_two_looks_count_from_their_begin() -> None:
    """The workers of a killed pool are gone for a look; a server that restarts has a parent that is new."""
    workers, used = ProcessGroup(), []
    for now in ({1: 5.0}, {1: 6.0}, {}, {2: 0.7}):
        workers._add(now, None)
        used.append(round(workers._used, 3))
    assert used == [0, 1, 1, 1.7]
    server = ProcessGroup()
    assert server.look([], parent=os.getpid())[0] == 0
    server._looked = 0.0  # the next parent began after that
    least = whole_cpu(os.getppid())
    assert least <= server.look([], parent=os.getppid())[0] <= whole_cpu(os.getppid())


def whole_cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
