"""Faults that freeze a worker past its lease, or a server while clients wait for it.

Connections stay open, and messages that were sent to a frozen process take effect once it resumes.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from harness.environments.base import Pausable, Service
from harness.errors import UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import pool_at_gate, some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import descendants, is_alive, send

PAUSE_MARGIN_SECONDS = 0.5
"""How much longer a pause lasts than the time after which others take the tasks over."""
PAUSE_SECONDS = 5.0
"""The pause of a worker whose tasks others never take over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PauseWorker:
    """SIGSTOP one worker for `seconds`, then SIGCONT: it resumes after its leases have expired.

    Without `seconds` the pause is longer than the target's promised `takes_over_after`, or `PAUSE_SECONDS` if the
    target promises no such time.
    """

    at: float
    seconds: float | None = None
    gated: bool = False
    name: str = "pause-worker"
    kind: InjectionKind = InjectionKind.PAUSE
    loss: Loss = Loss.WORKER_PAUSED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """One of the running workers."""
        pool, pids = some_workers(context)
        pid = pids[int(planned.draw * len(pids))]
        return Aim(pids=(pid,), pool=pool, value={"seconds": _lasts(self.seconds, context)})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Stop the worker and wait."""
        send(aim.pids, signal.SIGSTOP)
        time.sleep(float(aim.value["seconds"]))

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Resume the worker if it is still alive."""
        send([pid for pid in aim.pids if is_alive(pid)], signal.SIGCONT)


@dataclass(frozen=True, kw_only=True, slots=True)
class PausePool:
    """SIGSTOP a whole pool while one of its handlers runs and a second pool is up, then SIGCONT, as of a frozen host.

    `seconds` as for `PauseWorker`. The gate opens during the pause: for the paused handler when it resumes, and for the
    run of its task in the second pool at once.
    """

    at: float
    seconds: float | None = None
    gated: bool = True
    name: str = "pause-pool"
    kind: InjectionKind = InjectionKind.PAUSE
    loss: Loss = Loss.WORKER_PAUSED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The pool whose handler waits at the gate; starts the second pool first."""
        pool = pool_at_gate(context, planned)
        context.pools.start()
        pids = (pool.pid, *descendants(pool.pid))
        return Aim(pids=pids, pool=pool, value={"seconds": _lasts(self.seconds, context)})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Stop all processes of the pool, open the gate, and wait."""
        send(aim.pids, signal.SIGSTOP)
        context.gates.open(planned.gate)
        time.sleep(float(aim.value["seconds"]))

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Resume the processes that are still alive."""
        context.gates.open(planned.gate)
        send([pid for pid in aim.pids if is_alive(pid)], signal.SIGCONT)


@dataclass(frozen=True, kw_only=True, slots=True)
class StallServer:
    """Freeze a server for `seconds`.

    With `kill`, a worker is SIGKILLed half-way: its last messages take effect after its death.
    """

    service: Service
    at: float
    seconds: float
    kill: bool = False
    gated: bool = False

    @property
    def name(self) -> str:
        """The name in the history."""
        return f"kill-while-{self.service}-stands" if self.kill else f"stall-{self.service}"

    @property
    def kind(self) -> InjectionKind:
        """A kill if it kills a worker, else a pause."""
        return InjectionKind.KILL if self.kill else InjectionKind.PAUSE

    @property
    def loss(self) -> Loss:
        """The broker or the database stands still."""
        return Loss.DATABASE_FROZEN if self.service == "postgres" else Loss.BROKER_FROZEN

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """A worker if one is to be killed; no process otherwise."""
        pausable(context)
        pool, pids = some_workers(context)
        hit = (pids[int(planned.draw * len(pids))],) if self.kill else ()
        return Aim(pids=hit, pool=pool, value={"service": self.service, "seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Freeze the server and wait; with `kill`, SIGKILL the worker half-way."""
        pausable(context).pause(self.service)
        time.sleep(self.seconds / 2)
        send(aim.pids, signal.SIGKILL)
        time.sleep(self.seconds / 2)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Resume the server."""
        pausable(context).resume(self.service)


def _lasts(seconds: float | None, context: FaultContext) -> float:
    if seconds is not None:
        return seconds
    silence = context.promises.takes_over_after
    return PAUSE_SECONDS if silence is None else silence + PAUSE_MARGIN_SECONDS


def pausable(context: FaultContext) -> Pausable:
    """The environment of the run; raises `UsageError` if its servers cannot be frozen."""
    servers: object = context.environment
    if not isinstance(servers, Pausable):
        raise UsageError(
            "This fault freezes servers, which this backend cannot do. Choose --backend embedded or containers."
        )
    return servers
