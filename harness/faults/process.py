"""Faults of processes: workers and whole pools that are killed or told to stop, aimed at a moment or at random."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import GateError, HarnessError, TargetFailed
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.processes import descendants, send
from harness.targets.pools import RunningPool

_POLL = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class KillWorker:
    """SIGKILL one worker; the pool is expected to replace it, and is given a while to do so."""

    at: float
    gated: bool
    name: str = "kill-worker"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate, or any one that is up."""
        if self.gated:
            pid = _at_gate(world, planned)
            pool = _owner(world, pid)
            return Aim(pids=(pid,), pool=pool, value={"workers": len(pool.worker_pids())})
        pool, pids = some_workers(world)
        return Aim(pids=(pids[int(planned.draw * len(pids))],), pool=pool, value={"workers": len(pids)})

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Kill it."""
        send(aim.pids, signal.SIGKILL)

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for whoever runs the task next, and wait until another worker has come up."""
        world.gates.open(planned.gate)
        strength, gone = int(aim.value["workers"]), set(aim.pids)
        _until(lambda: len(set(aim.pool.worker_pids()) - gone) >= strength, world.patience / 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class KillPool:
    """SIGKILL a pool's parent and children at once; a new pool is started in its place."""

    at: float
    gated: bool
    name: str = "kill-pool"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """The pool whose handler waits at the gate, or the oldest one."""
        pool = _owner(world, _at_gate(world, planned)) if self.gated else some_workers(world)[0]
        return Aim(pids=(pool.pid, *descendants(pool.pid)), pool=pool, value={"pid": pool.pid})

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Kill the parent first, so that it replaces nobody, and its children with it."""
        send(aim.pids, signal.SIGKILL)

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate and start another pool."""
        world.gates.open(planned.gate)
        if not aim.pool.wait(world.patience):
            raise HarnessError(
                f"{aim.pool.name} still runs after SIGKILL. Look for it as pid {aim.pool.pid}."
            )
        world.pools.start()


@dataclass(frozen=True, kw_only=True, slots=True)
class SigtermPool:
    """SIGTERM a pool while a handler certainly runs in it and another pool stands by.

    With `outlive` the handler is held at its gate until the pool has ended: the pool has to release it, and another
    runs it. Without, it is let go at once and finishes inside the pool's time-out. `graceful` is that time-out.
    """

    at: float
    graceful: float
    outlive: bool
    gated: bool = True
    name: str = "sigterm"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """The pool whose handler waits at the gate; its replacement is up before anything is done to it."""
        pool = _owner(world, _at_gate(world, planned))
        world.pools.start()
        pids = tuple(pool.worker_pids())
        value = {"pid": pool.pid, "graceful": self.graceful, "outlive": self.outlive}
        return Aim(pids=pids, pool=pool, value=value)

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Tell the parent to stop; it is the one to tell its children."""
        send([aim.pool.pid], signal.SIGTERM)
        if not self.outlive:
            world.gates.open(planned.gate)

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Wait until the pool has ended (how it ended is for a checker to judge) and open the gate."""
        aim.pool.wait(self.graceful + world.patience)
        world.gates.open(planned.gate)


def kill_worker_at_gate(*, at: float) -> KillWorker:
    """SIGKILL the worker in which the task at `at` has begun and waits at its gate."""
    return KillWorker(at=at, gated=True)


def kill_random_worker(*, at: float) -> KillWorker:
    """SIGKILL a worker of the seed's choice, at a moment of the seed's choice from `at` on."""
    return KillWorker(at=at, gated=False)


def kill_pool(*, at: float) -> KillPool:
    """SIGKILL parent and children of the pool in which the task at `at` waits at its gate."""
    return KillPool(at=at, gated=True)


def sigterm_pool(*, at: float, graceful: float, outlive: bool = False) -> SigtermPool:
    """SIGTERM the pool in which the task at `at` waits at its gate; times are seconds."""
    return SigtermPool(at=at, graceful=graceful, outlive=outlive)


def _at_gate(world: FaultContext, planned: PlannedFault) -> int:
    return world.gates.wait_for(planned.gate, within=world.patience)[0].pid


def _owner(world: FaultContext, pid: int) -> RunningPool:
    pool = world.pools.owner(pid)
    if pool is None:
        raise TargetFailed(f"the handler at the gate runs in pid {pid}, which no pool calls its worker.")
    return pool


def some_workers(world: FaultContext) -> tuple[RunningPool, list[int]]:
    """The oldest pool with workers that are up, and those; waits for one, and raises `GateError` where none comes."""
    found: list[tuple[RunningPool, list[int]]] = []

    def look() -> bool:
        found[:] = [(pool, pids) for pool in world.pools.running() if (pids := pool.worker_pids())]
        return bool(found)

    if not _until(look, world.patience):
        raise GateError(f"no pool had a worker that was up within {world.patience:g} s.")
    return found[0]


def _until(condition: Callable[[], bool], within: float) -> bool:
    """Ask again and again for something that no event tells of; False when it did not come true in time."""
    deadline, pause = time.monotonic() + within, threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause.wait(_POLL)
    return True
