"""The fork server of a pool that was forked itself."""

from __future__ import annotations

import subprocess
import sys

from agentexec.worker.protocol import ExitCode

SCRIPT = """
import queue, psutil
from agentexec.worker.child import Child
from agentexec.worker.protocol import WorkerSpec
from agentexec.worker.reference import PoolReference
from harness.targets.forked_worker import ForkOfPool

def code_of_worker():
    events = queue.SimpleQueue()
    spec = WorkerSpec(name="w", slot=0, reference=PoolReference(attribute="pool", module="no_such_module"))
    Child(server, spec, events.put)
    return events.get(timeout=60).code

pool = psutil.Process()
with ForkOfPool() as server:
    server.start()
    [first] = pool.children()
    print(first.cmdline() == pool.cmdline(), code_of_worker(), pool.children() == [first])
    first.kill()
    while first.status() != psutil.STATUS_ZOMBIE:
        pass
    code = code_of_worker()
    [second] = pool.children()
    print(second.cmdline() == pool.cmdline(), code, second == first)
print(pool.children())
"""


def test_it_is_a_fork_of_the_pool_and_after_its_death_an_interpreter() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=100)
    first, second = f"True {ExitCode.BROKEN:d} True", f"False {ExitCode.BROKEN:d} False"
    assert done.stdout.splitlines() == [first, second, "[]"], done.stderr
