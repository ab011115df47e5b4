"""Process faults: SIGKILL of workers and pools, SIGTERM of pools, at a gate or at a random moment."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import GateError, HarnessError, TargetFailed
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import descendants, send
from harness.targets.pools import RunningPool

_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class KillWorker:
    """SIGKILL one worker; healing waits until the pool has replaced it."""

    at: float
    gated: bool
    name: str = "kill-worker"
    kind: InjectionKind = InjectionKind.KILL
    loss: Loss = Loss.WORKER_KILLED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate, or one of the running workers."""
        if self.gated:
            return worker_at_gate(context, planned)
        pool, pids = some_workers(context)
        return Aim(pids=(pids[int(planned.draw * len(pids))],), pool=pool, value={"workers": len(pids)})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Kill the worker."""
        send(aim.pids, signal.SIGKILL)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for the next run of the task and wait until a replacement is up."""
        await_replacement(context, planned, aim)


@dataclass(frozen=True, kw_only=True, slots=True)
class KillPool:
    """SIGKILL a pool's parent and children at once; healing starts a new pool."""

    at: float
    gated: bool
    name: str = "kill-pool"
    kind: InjectionKind = InjectionKind.KILL
    loss: Loss = Loss.POOL_KILLED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The pool whose handler waits at the gate, or the oldest one."""
        pool = pool_at_gate(context, planned) if self.gated else some_workers(context)[0]
        return Aim(pids=(pool.pid, *descendants(pool.pid)), pool=pool, value={"pid": pool.pid})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Kill the parent first, so that it replaces no child, then its children."""
        send(aim.pids, signal.SIGKILL)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate and start another pool."""
        context.gates.open(planned.gate)
        if not aim.pool.wait(context.patience):
            raise HarnessError(
                f"{aim.pool.name} still runs after SIGKILL. Look for it as pid {aim.pool.pid}."
            )
        context.pools.start()


_PASSED = (
    "the pool in which the handler waited at its gate was stopped by the fault before, within its time-out"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SigtermPool:
    """SIGTERM a pool while one of its handlers runs and a second pool is up.

    `graceful` is the pool's graceful time-out in seconds. With `outlive` the handler stays at its gate until the pool
    has ended, so the pool has to release the lease and the second pool runs the task. Without it, the gate opens at
    once and the handler finishes inside the time-out. So does one of this pool that waits for another fault, which is
    then not injected, if the target does not survive that a handler outlives the time-out. Both pools run side by side
    for `beside` seconds first.
    """

    at: float
    graceful: float
    outlive: bool
    beside: float = 0.0
    gated: bool = True
    name: str = "sigterm"
    kind: InjectionKind = InjectionKind.STOP

    @property
    def loss(self) -> Loss:
        """A deployment, or a SIGTERM with or without a task that outlives the time-out."""
        if self.beside:
            return Loss.DEPLOYMENT
        return Loss.SIGTERM_LATE if self.outlive else Loss.SIGTERM

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The pool whose handler waits at the gate; starts the second pool first."""
        pool = pool_at_gate(context, planned)
        context.pools.start()
        time.sleep(self.beside)
        pids = tuple(pool.worker_pids())
        value = {"pid": pool.pid, "graceful": self.graceful, "outlive": self.outlive}
        return Aim(pids=pids, pool=pool, value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """SIGTERM the parent, which stops its children itself."""
        aim.pool.terminate()
        if not self.outlive:
            context.gates.open(planned.gate)
            if Loss.SIGTERM_LATE not in context.promises.survives:
                context.gates.let_pass(aim.pids, _PASSED)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Wait until the pool has ended and open the gate; a checker judges how the pool ended."""
        aim.pool.wait(self.graceful + context.patience)
        context.gates.open(planned.gate)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleToZero:
    """SIGTERM the only pool, leave the queue without workers for `seconds`, and start another pool.

    `graceful` is the pool's graceful time-out in seconds.
    """

    at: float
    graceful: float
    seconds: float = 2.0
    gated: bool = False
    name: str = "scale-to-zero"
    kind: InjectionKind = InjectionKind.STOP
    loss: Loss = Loss.SIGTERM

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The oldest pool that has running workers."""
        pool, pids = some_workers(context)
        value = {"pid": pool.pid, "graceful": self.graceful, "seconds": self.seconds}
        return Aim(pids=tuple(pids), pool=pool, value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """SIGTERM the pool, and wait until it has ended and the time has passed."""
        aim.pool.terminate()
        aim.pool.wait(self.graceful + context.patience)
        time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start a pool; a checker judges how the other one ended."""
        context.pools.start()


def kill_worker_at_gate(*, at: float) -> KillWorker:
    """SIGKILL the worker in which the task at `at` waits at its gate."""
    return KillWorker(at=at, gated=True)


def kill_random_worker(*, at: float) -> KillWorker:
    """SIGKILL a worker that the seed chooses, at a moment after `at` that the seed chooses."""
    return KillWorker(at=at, gated=False)


def kill_pool(*, at: float) -> KillPool:
    """SIGKILL parent and children of the pool in which the task at `at` waits at its gate."""
    return KillPool(at=at, gated=True)


def sigterm_pool(*, at: float, graceful: float, outlive: bool = False) -> SigtermPool:
    """SIGTERM the pool in which the task at `at` waits at its gate; `graceful` is in seconds."""
    return SigtermPool(at=at, graceful=graceful, outlive=outlive)


def replace_pool(*, at: float, graceful: float, beside: float) -> SigtermPool:
    """Start another pool, and after `beside` seconds SIGTERM the one in which the task at `at` waits at its gate."""
    return SigtermPool(at=at, graceful=graceful, outlive=False, beside=beside)


def pool_at_gate(context: FaultContext, planned: PlannedFault) -> RunningPool:
    """The pool whose handler waits at the gate; raises `GateError` if none arrives within the patience."""
    return _owner(context, _at_gate(context, planned))


def worker_at_gate(context: FaultContext, planned: PlannedFault, **value: float) -> Aim:
    """The worker whose handler waits at the gate, and the number of `workers` of its pool; raises as `pool_at_gate`."""
    pid = _at_gate(context, planned)
    pool = _owner(context, pid)
    return Aim(pids=(pid,), pool=pool, value={"workers": len(pool.worker_pids()), **value})


def await_replacement(context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
    """Open the gate of a worker that ended, and wait until its pool has as many workers (`workers`) as before."""
    context.gates.open(planned.gate)
    await_strength(context, aim)


def await_strength(context: FaultContext, aim: Aim) -> None:
    """Wait until the pool of a worker that ended has as many workers (`workers`) as before."""
    strength, gone = int(aim.value["workers"]), set(aim.pids)
    wait_until(lambda: len(set(aim.pool.worker_pids()) - gone) >= strength, context.patience / 2)


def _at_gate(context: FaultContext, planned: PlannedFault) -> int:
    return context.gates.wait_for(planned.gate, within=context.patience)[0].pid


def _owner(context: FaultContext, pid: int) -> RunningPool:
    pool = context.pools.owner(pid)
    if pool is None:
        raise TargetFailed(
            f"the handler at the gate runs in pid {pid}, which is not a worker of any pool. See the logs of the pools."
        )
    return pool


def some_workers(context: FaultContext) -> tuple[RunningPool, list[int]]:
    """The oldest pool that has running workers, and their pids; raises `GateError` if none appears in time."""
    found: list[tuple[RunningPool, list[int]]] = []

    def look() -> bool:
        found[:] = [(pool, pids) for pool in context.pools.running() if (pids := pool.worker_pids())]
        return bool(found)

    if not wait_until(look, context.patience):
        raise GateError(
            f"no pool had a running worker within {context.patience:g} s. See the logs of the pools."
        )
    return found[0]


def wait_until(condition: Callable[[], bool], within: float) -> bool:
    """Poll a condition for which there is no event; False if it is not true after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
