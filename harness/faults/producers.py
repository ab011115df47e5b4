"""A fault that kills a producer: between the commit of a task and its dispatch, or while it waits for an answer."""

from __future__ import annotations

from dataclasses import dataclass

from harness.environments.base import Service
from harness.errors import GateError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.targets.producers import RunningProducer
from harness.wire import Blow, Moment, Strike


@dataclass(frozen=True, kw_only=True, slots=True)
class KillProducer:
    """SIGKILL a producer at its next command to a server; healing starts it again.

    `BEFORE`: the server never has the command. Of Redis, that is between the commit of a task and its dispatch, if the
    target dispatches what it has committed. `AFTER`: the command has taken effect, and the producer waits for the
    answer. The scenario asks for `producers`. A task whose submission got no answer may end or not; one that was
    acknowledged has to end.
    """

    service: Service
    moment: Moment
    at: float
    gated: bool = False
    of_producer: bool = True
    name: str = "kill-producer"
    # No worker ends with it.
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.PRODUCER_KILLED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """One of the producers; raises `GateError` if the run has none with a link to the server."""
        producer = _chosen(context, planned, self.service)
        value = {"service": self.service, "moment": self.moment, "producer": producer.name}
        return Aim(pids=tuple(producer.pids()), pool=some_workers(context)[0], value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Hold the next command or its reply, and kill; raises `GateError` if no command is sent."""
        producer = _chosen(context, planned, self.service)
        wire = producer.wires[self.service]
        armed = wire.arm(Strike(blow=Blow.HOLD, moment=self.moment))
        try:
            if armed.wait(context.patience) is None:
                raise GateError(
                    f"{producer.name} sent no command to {self.service} within {context.patience:g} s. "
                    "Run this fault with more tasks, on a target that uses this server."
                )
            producer.kill()
        finally:
            wire.disarm(armed)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start the producer again; returns once it accepts tasks."""
        _chosen(context, planned, self.service).restart()


def _chosen(context: FaultContext, planned: PlannedFault, service: Service) -> RunningProducer:
    producers = context.producers
    found = [] if producers is None else [one for one in producers.all if service in one.wires]
    if not found:
        raise GateError(
            f"no producer of this run has a process of its own with a link to {service}. "
            "Give the scenario `producers`, and name the target as the command line does."
        )
    return found[int(planned.draw * len(found))]
