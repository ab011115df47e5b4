"""Faults that let something stand still for a while: a worker past its lease, a server while clients wait for it.

Nothing is broken and nobody is told: connections stay open, and what was sent meanwhile takes effect afterwards.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass

from harness.environments.base import Pausable, Service
from harness.errors import UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.processes import is_alive, send


@dataclass(frozen=True, kw_only=True, slots=True)
class PauseWorker:
    """SIGSTOP one worker for so many `seconds`, then SIGCONT: past its lease it wakes up as a zombie."""

    at: float
    seconds: float
    gated: bool = False
    name: str = "pause-worker"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """Any worker that is up."""
        pool, pids = some_workers(world)
        pid = pids[int(planned.draw * len(pids))]
        return Aim(pids=(pid,), pool=pool, value={"seconds": self.seconds})

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Stop it, for as long as it is to stand."""
        send(aim.pids, signal.SIGSTOP)
        threading.Event().wait(self.seconds)

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let it go on."""
        send([pid for pid in aim.pids if is_alive(pid)], signal.SIGCONT)


@dataclass(frozen=True, kw_only=True, slots=True)
class StallServer:
    """Freeze a server for so many `seconds`. With `kill`, a worker is SIGKILLed half-way: what it sent last is still on
    its way, and takes effect after its death.
    """

    service: Service
    at: float
    seconds: float
    kill: bool = False
    gated: bool = False

    @property
    def name(self) -> str:
        """What the history calls it; checkers know a kill by the beginning of its name."""
        return f"kill-while-{self.service}-stands" if self.kill else f"stall-{self.service}"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """A worker to be killed, if one is; the server needs no aim."""
        pausable(world)
        pool, pids = some_workers(world)
        hit = (pids[int(planned.draw * len(pids))],) if self.kill else ()
        return Aim(pids=hit, pool=pool, value={"service": self.service, "seconds": self.seconds})

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Freeze it, for as long as it is to stand."""
        pausable(world).pause(self.service)
        threading.Event().wait(self.seconds / 2)
        send(aim.pids, signal.SIGKILL)
        threading.Event().wait(self.seconds / 2)

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let it go on."""
        pausable(world).resume(self.service)


def pausable(world: FaultContext) -> Pausable:
    """The environment of the run; raises `UsageError` where its servers cannot be frozen."""
    servers: object = world.environment
    if not isinstance(servers, Pausable):
        raise UsageError(
            "This fault freezes servers, which this backend cannot do. Choose --backend embedded or containers."
        )
    return servers
