"""A scenario on workers that the user runs: only the wire and a kill command of the user can strike."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers import effects, faults_injected
from harness.faults.base import Fault
from harness.faults.kill_command import KillByCommand, KillHook
from harness.faults.links import DisturbLink
from harness.faults.replies import LoseReply
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.scenario.scenario import Scenario

# They ask for what the processes of a pool show, and the harness has none; for times that are more exact than those of
# the store, whose clock is another one; and for how soon what the user runs replaces a worker.
_OF_POOLS = ("recovery", "shutdown", "exits", "causality", "steady")


def on_user_workers(scenario: Scenario, hook: KillHook | None) -> Scenario | None:
    """The scenario with kills by the hook, and with those of its faults that strike only a link; None if none is left.

    A scenario without faults stays as it is.
    """
    faults = tuple(one for fault in scenario.faults if (one := _striking(fault, hook)) is not None)
    if scenario.faults and not faults:
        return None
    checkers = {name: one for name, one in scenario.checkers.items() if name not in _OF_POOLS}
    # Effects are taken by the handlers of the harness alone.
    own = {"faults": faults_injected(len(faults)), "effects": effects(minimum=0)}
    return replace(scenario, faults=faults, checkers=checkers | own)


def _striking(fault: Fault, hook: KillHook | None) -> Fault | None:
    if isinstance(fault, LoseReply | KillByCommand) or (isinstance(fault, DisturbLink) and not fault.of_pool):
        return fault
    loss: Loss | None = getattr(fault, "loss", None)
    kills = fault.kind is InjectionKind.KILL and loss in (Loss.WORKER_KILLED, Loss.POOL_KILLED)
    # What a handler does at its gate is no kill from outside.
    if hook is None or not kills or loss is None or getattr(fault, "action", None) is not None:
        return None
    return KillByCommand(at=fault.at, hook=hook, loss=loss)
