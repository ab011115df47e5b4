"""Faults that freeze workers and servers, and resume them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.environments.base import Service
from harness.errors import UsageError
from harness.faults.base import FaultContext
from harness.faults.pausing import PauseWorker, StallServer
from harness.scenario.schedule import plan_faults


class Servers:
    """Records each pause and resume, and whether the worker was alive at that moment."""

    def __init__(self, worker: subprocess.Popen[bytes]) -> None:
        self._worker = worker
        self.calls: list[tuple[str, Service, bool]] = []

    def pause(self, service: Service) -> None:
        self.calls.append(("pause", service, self._worker.poll() is None))

    def resume(self, service: Service) -> None:
        self.calls.append(("resume", service, self._worker.poll() is None))


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def context_of(worker: subprocess.Popen[bytes], environment: Any) -> FaultContext:
    pool: Any = SimpleNamespace(worker_pids=lambda: [worker.pid], name="pool-1")
    pools: Any = SimpleNamespace(running=lambda: [pool])
    gates: Any = None
    return FaultContext(gates=gates, pools=pools, environment=environment)


def carry_out(fault: PauseWorker | StallServer, context: FaultContext) -> Any:
    [planned] = plan_faults([fault], seed=1, due=[0.0])
    aim = fault.aim(context, planned)
    fault.inject(context, planned, aim)
    return lambda: (fault.heal(context, planned, aim), aim)[1]


def test_a_paused_worker_stays_frozen_until_it_is_healed(
    worker: subprocess.Popen[bytes], eventually: Any
) -> None:
    heal = carry_out(PauseWorker(at=0.0, seconds=0.0), context_of(worker, None))
    process = psutil.Process(worker.pid)
    eventually(lambda: process.status() == psutil.STATUS_STOPPED)
    aim = heal()
    eventually(lambda: process.status() != psutil.STATUS_STOPPED)
    assert aim.pids == (worker.pid,)


def test_healing_accepts_a_worker_that_died_while_it_was_frozen(worker: subprocess.Popen[bytes]) -> None:
    heal = carry_out(PauseWorker(at=0.0, seconds=0.0), context_of(worker, None))
    worker.kill()
    worker.wait()
    heal()


def test_a_server_is_frozen_and_then_resumed(worker: subprocess.Popen[bytes]) -> None:
    servers = Servers(worker)
    fault = StallServer(service="redis", at=0.0, seconds=0.0)
    aim = carry_out(fault, context_of(worker, servers))()
    assert [(what, service) for what, service, _ in servers.calls] == [
        ("pause", "redis"),
        ("resume", "redis"),
    ]
    assert (aim.pids, worker.poll(), fault.name) == ((), None, "stall-redis")


def test_a_worker_is_killed_while_the_server_is_frozen(worker: subprocess.Popen[bytes]) -> None:
    servers = Servers(worker)
    fault = StallServer(service="postgres", at=0.0, seconds=0.0, kill=True)
    aim = carry_out(fault, context_of(worker, servers))()
    assert servers.calls[0] == ("pause", "postgres", True)
    assert worker.wait(timeout=10) == -signal.SIGKILL
    assert aim.pids == (worker.pid,)
    assert fault.name.startswith("kill")  # checkers recognize a kill by this prefix


def test_servers_that_cannot_be_frozen_are_refused_with_a_remedy(worker: subprocess.Popen[bytes]) -> None:
    with pytest.raises(UsageError, match="--backend embedded"):
        carry_out(StallServer(service="redis", at=0.0, seconds=0.0), context_of(worker, object()))
