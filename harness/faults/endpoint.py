"""A fault of the LLM endpoint that the handlers of a run call: slow, refusing, or cutting its answers off."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.errors import GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.llm.disturbances import Disturbance
from harness.llm.serving import Endpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class DisturbEndpoint:
    """Begin a disturbance of the endpoint, and end it after `seconds`; the scenario has an `endpoint`.

    It takes nothing from the queue: handlers take longer, and try again.
    """

    disturbance: Disturbance
    at: float
    seconds: float = 2.0
    gated: bool = False
    kind: InjectionKind = InjectionKind.OTHER

    @property
    def name(self) -> str:
        """The name in the history, for example `endpoint-429`."""
        return f"endpoint-{self.disturbance.fault}"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _endpoint(context)
        value = {"share": self.disturbance.share, "seconds": self.seconds}
        return Aim(pids=(), pool=some_workers(context)[0], value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Disturb the endpoint and wait; raises `GateError` if no request was hit."""
        before = self._hits(context)
        _endpoint(context).disturb(self.disturbance)
        time.sleep(self.seconds)
        if self._hits(context) == before:
            raise GateError(
                f"no request to the endpoint was hit by {self.disturbance.fault} in {self.seconds:g} s. "
                "Run this fault on a target whose handlers use the worker kit, with more tasks."
            )

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """End all disturbances; raises `EnvironmentUnavailable` if the endpoint is away."""
        _endpoint(context).calm()

    def _hits(self, context: FaultContext) -> int:
        requests = _endpoint(context).records(settle=0.0).requests
        return sum(request.fault == self.disturbance.fault for request in requests)


def disturbed(*texts: str) -> tuple[DisturbEndpoint, ...]:
    """A fault for each text such as `429 share=0.9`, spread evenly over the tasks."""
    places = [0.1 + 0.8 * number / len(texts) for number in range(len(texts))]
    return tuple(
        DisturbEndpoint(disturbance=Disturbance.parse(text), at=at)
        for text, at in zip(texts, places, strict=True)
    )


def _endpoint(context: FaultContext) -> Endpoint:
    if context.endpoint is None:
        raise UsageError(
            "This fault disturbs an LLM endpoint. Give the scenario one: endpoint=EndpointProfile()."
        )
    return context.endpoint
