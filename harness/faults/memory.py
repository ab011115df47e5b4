"""Faults of memory: a handler leaks until its worker may have no more, or until the kernel kills its process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from harness.environments.memory_group import memory_group, why_no_group
from harness.errors import GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import await_replacement, wait_until, worker_at_gate
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import is_alive, send

MEGABYTE = 2**20
# A handler asks for its largest pieces first; a limit is reached when less than one of them is left.
_PIECE_BYTES = MEGABYTE
# No limit of this machine is met by what a handler may take at most.
_MOST_MEGABYTES = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class ExhaustMemory:
    """The worker may have `megabytes` more (RLIMIT_DATA), which its handler takes, keeps for `seconds`, and gives back.

    Every thread of the worker that needs a new piece of memory gets MemoryError meanwhile. The worker may end of that,
    or go on. RLIMIT_AS would not strike threads, because each has reserved addresses for later. Needs Linux.
    """

    at: float
    megabytes: int = 32
    seconds: float = 1.5
    gated: bool = True
    name: str = "exhaust-memory"
    action: str = "leak"
    kind: InjectionKind = InjectionKind.PAUSE
    loss: Loss = Loss.WORKER_OUT_OF_MEMORY

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate; raises `UsageError` where its memory cannot be limited."""
        if not hasattr(psutil, "RLIMIT_DATA"):
            raise UsageError("This fault limits the memory of a worker, which needs Linux. Leave it out.")
        return worker_at_gate(context, planned, seconds=self.seconds)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Set the limit, and let the handler reach it; raises `GateError` if it cannot, or does not."""
        [worker] = map(psutil.Process, aim.pids)
        before = worker.rlimit(psutil.RLIMIT_DATA)
        limit = worker.memory_info().data + self.megabytes * MEGABYTE
        worker.rlimit(psutil.RLIMIT_DATA, (limit, before[1]))
        try:
            context.gates.act(planned.gate, f"{self.action} {_MOST_MEGABYTES} {self.seconds:g}")
            _await(worker, lambda: worker.memory_info().data > limit - _PIECE_BYTES, context.patience)
            time.sleep(self.seconds)
        finally:
            with suppress(psutil.NoSuchProcess):
                worker.rlimit(psutil.RLIMIT_DATA, before)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate; if the worker has ended, wait until a replacement is up."""
        if all(map(is_alive, aim.pids)):
            context.gates.open(planned.gate)
        else:
            await_replacement(context, planned, aim)


@dataclass(frozen=True, kw_only=True, slots=True)
class KillLeakingWorker:
    """The handler leaks `megabytes`, and its worker gets SIGKILL, as from a supervisor that watches its memory."""

    at: float
    megabytes: int = 64
    gated: bool = True
    name: str = "kill-leaking-worker"
    action: str = "leak"
    kind: InjectionKind = InjectionKind.KILL
    loss: Loss = Loss.WORKER_KILLED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate."""
        return worker_at_gate(context, planned, megabytes=self.megabytes)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let the handler leak, and kill its worker for it; raises `GateError` if it does not leak."""
        [worker] = map(psutil.Process, aim.pids)
        limit = worker.memory_info().rss + self.megabytes * MEGABYTE
        context.gates.act(planned.gate, f"{self.action} {self.megabytes + 1} {context.patience:g}")
        _await(worker, lambda: worker.memory_info().rss > limit, context.patience)
        send(aim.pids, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, aim.pids)), context.patience)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for the next run of the task and wait until a replacement is up."""
        await_replacement(context, planned, aim)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExceedMemoryGroup:
    """The handler leaks in a memory cgroup of `megabytes` that has only its worker, and the kernel kills the worker.

    So does the limit of a container. Needs Linux and the right to make a cgroup.
    """

    at: float
    megabytes: int = 32
    gated: bool = True
    name: str = "exceed-memory-group"
    action: str = "leak"
    kind: InjectionKind = InjectionKind.KILL
    loss: Loss = Loss.WORKER_KILLED

    def unmet(self) -> str | None:
        """Why this machine cannot have the fault; None if it can."""
        return why_no_group()

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate."""
        return worker_at_gate(context, planned, megabytes=self.megabytes)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Make the group, move the worker, let its handler leak; raises `GateError` unless the kernel kills it."""
        assert context.environment is not None, "the run has pools"
        [pid] = aim.pids
        limit = self.megabytes * MEGABYTE
        with memory_group(context.environment.folder, str(planned.number), limit) as group:
            group.take(pid)
            context.gates.act(planned.gate, f"{self.action} {_MOST_MEGABYTES} {context.patience:g}")
            wait_until(lambda: not is_alive(pid), context.patience)
            aim.found["kills"] = group.kills
        if not aim.found["kills"]:
            raise GateError(
                "the handler was asked to leak memory, and the kernel did not kill its worker. See `dmesg`."
            )

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for the next run of the task and wait until a replacement is up."""
        await_replacement(context, planned, aim)


def _await(worker: psutil.Process, reached: Callable[[], bool], within: float) -> None:
    """Wait until the worker has used its memory, or has ended of it; raises `GateError`."""
    with suppress(psutil.NoSuchProcess):
        if not wait_until(reached, within) and worker.is_running():
            raise GateError("the handler was asked to leak memory, and did not. See the logs of the pools.")
