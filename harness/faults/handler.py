"""Faults that a handler commits itself, at its gate: it ends its process, blocks, or leaves a child."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from harness.errors import GateError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import await_replacement, await_strength, wait_until, worker_at_gate
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import descendants, is_alive, send


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerExits:
    """The handler ends the interpreter of its worker (`os._exit`); healing waits until the pool has replaced it."""

    at: float
    gated: bool = True
    name: str = "handler-exits"
    action: str = "exit"
    kind: InjectionKind = InjectionKind.KILL
    loss: Loss = Loss.WORKER_KILLED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate."""
        return worker_at_gate(context, planned)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let the handler exit; raises `GateError` if the worker kit of the target cannot, or does not."""
        context.gates.act(planned.gate, self.action)
        if not wait_until(lambda: not any(map(is_alive, aim.pids)), context.patience):
            raise GateError(
                "the handler was asked to end its process, and did not. See the logs of the pools."
            )

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for the next run of the task and wait until a replacement is up."""
        await_replacement(context, planned, aim)


@dataclass(frozen=True, kw_only=True, slots=True)
class PoisonTask(HandlerExits):
    """One task ends the interpreter of its worker, as `HandlerExits`; faults with the same `at` strike the same task.

    Its gate stays closed until the `last` of them, or until the task does not come back: then it is a dead letter.
    """

    last: bool = False
    name: str = "poison-task"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate; `task` in the operation is the number of its task."""
        try:
            task = context.gates.wait_for(planned.gate, within=context.patience)[0].task
            return worker_at_gate(context, planned, task=task)
        except GateError as error:
            context.gates.give_up(planned.gate, f"the task did not come back before: {error}")
            raise

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Wait until a replacement is up, and open the gate after the last one."""
        if self.last:
            context.gates.open(planned.gate)
        await_strength(context, aim)


def poison(*, at: float, times: int) -> tuple[PoisonTask, ...]:
    """The task at `at` ends the interpreter of its worker as many `times`, unless it becomes a dead letter before."""
    return tuple(PoisonTask(at=at, last=number == times) for number in range(1, times + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerBlocks:
    """The handler blocks its thread for `seconds`: in a coroutine, the event loop of its worker stands still."""

    at: float
    seconds: float
    gated: bool = True
    name: str = "handler-blocks"
    action: str = "block"
    kind: InjectionKind = InjectionKind.PAUSE
    loss: Loss = Loss.WORKER_BLOCKED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate."""
        return worker_at_gate(context, planned, seconds=self.seconds)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let the handler block, and wait as long."""
        context.gates.act(planned.gate, f"{self.action} {self.seconds:g}")
        time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for a run of the task elsewhere."""
        context.gates.open(planned.gate)


@dataclass(frozen=True, kw_only=True, slots=True)
class KillForkedWorker:
    """The handler forks a child, and SIGKILL hits its worker: the child keeps pipes, sockets and locks of it open.

    A supervisor that waits for the end of a pipe, or for a lock of a file, does not see the death.
    """

    at: float
    gated: bool = True
    name: str = "kill-forked-worker"
    action: str = "fork"
    kind: InjectionKind = InjectionKind.KILL
    loss: Loss = Loss.WORKER_KILLED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate."""
        return worker_at_gate(context, planned)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let the handler fork, and kill its worker; raises `GateError` if it does not fork."""
        [pid] = aim.pids
        before = descendants(pid)
        context.gates.act(planned.gate, self.action)
        if not wait_until(lambda: len(descendants(pid)) > len(before), context.patience):
            raise GateError("the handler was asked to fork, and did not. See the logs of the pools.")
        send(aim.pids, signal.SIGKILL)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for the next run of the task and wait until a replacement is up; the child ends by itself."""
        await_replacement(context, planned, aim)
