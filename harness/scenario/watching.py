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
from harness.workloads.base import PacedWorkload
from harness.workloads.observed_tasks import ObservedTasks

# They ask for what the processes of a pool show, and the harness has none; for times that are more exact than those of
# the store, whose clock is another one; and for how soon what the user runs replaces a worker.
_OF_POOLS = ("recovery", "shutdown", "exits", "causality", "steady")


# The checkers of the workload replace the first; the second compares moments at which nothing was submitted.
_OF_OWN_TASKS = ("delivery", "availability")


def on_user_workers(scenario: Scenario, hook: KillHook | None, *, read_only: bool = False) -> Scenario | None:
    """The scenario with kills by the hook, and with those of its faults that strike only a link; None if none is left.

    A scenario without faults stays as it is. With `read_only`, the tasks are those of the user's producers, to whose
    links the harness has no access.
    """
    faults = tuple(one for fault in scenario.faults if (one := _striking(fault, hook)) is not None)
    if read_only:
        faults = tuple(one for one in faults if isinstance(one, KillByCommand))
    if scenario.faults and not faults:
        return None
    checkers = {name: one for name, one in scenario.checkers.items() if name not in _OF_POOLS}
    # Effects are taken by the handlers of the harness alone.
    own = {"faults": faults_injected(len(faults)), "effects": effects(minimum=0)}
    made = replace(scenario, faults=faults, checkers=checkers | own)
    return _observing(made) if read_only else made


def _observing(scenario: Scenario) -> Scenario:
    """The scenario with the tasks of the user's producers, for as long as it submits tasks of its own."""
    workload = scenario.workload
    observed = ObservedTasks.at(workload.rate) if isinstance(workload, PacedWorkload) else ObservedTasks()
    checkers = {name: one for name, one in scenario.checkers.items() if name not in _OF_OWN_TASKS}
    return replace(scenario, workload=observed, checkers=checkers, proxied=(), producers=0)


def _striking(fault: Fault, hook: KillHook | None) -> Fault | None:
    if isinstance(fault, LoseReply | KillByCommand) or (isinstance(fault, DisturbLink) and not fault.of_pool):
        return fault
    loss: Loss | None = getattr(fault, "loss", None)
    kills = fault.kind is InjectionKind.KILL and loss in (Loss.WORKER_KILLED, Loss.POOL_KILLED)
    # What a handler does at its gate is no kill from outside.
    if hook is None or not kills or loss is None or getattr(fault, "action", None) is not None:
        return None
    return KillByCommand(at=fault.at, hook=hook, loss=loss)
