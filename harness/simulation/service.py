"""A service in a simulation: it calls the public API about tasks that a producer enqueued."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

import agentexec as ax
from agentexec.producer.client import Client
from harness.history import OperationType
from harness.history.figures import NANOSECONDS
from harness.history.names import RESULT
from harness.simulation.context import SimulationContext
from harness.simulation.plan import CallKind, PlannedCall
from harness.simulation.producer import PlannedSubmissions

# Seconds until a service that does not know the id of a task yet looks again, and how often it looks.
AGAIN_AFTER, LOOKS = 0.25, 40


class SimulatedClient(Client):
    """The client of a service, over the simulated connections of its own process."""

    def __init__(self, context: SimulationContext) -> None:
        self.process = context.runtime.new_process("service")
        self.engine = context.database(self.process)
        self.simulated_queue = context.queue(self.process)

    def queue_of(self, queue_name: str) -> Any:  # noqa: ARG002 - there is one queue
        return self.simulated_queue


class SimulatedService:
    """One process that makes the planned calls and ends tasks on request. `client` must be the process's default."""

    def __init__(self, context: SimulationContext, submissions: PlannedSubmissions) -> None:
        self._context = context
        self._submissions = submissions
        self.client = SimulatedClient(context)
        for call in context.plan.calls:
            self._later(round(call.at * NANOSECONDS), call, LOOKS)

    def fail(self, number: int, activity: UUID) -> None:
        """End a task as ERROR now."""
        self._spawn(number, lambda: ax.activity.error(activity, "Failed on request."))

    def _later(self, when: int, call: PlannedCall, looks: int) -> None:
        self._context.runtime.scheduler.at(when, self.client.process, lambda: self._make(call, looks))

    def _make(self, call: PlannedCall, looks: int) -> None:
        activity = self._submissions.activities.get(call.task)
        if activity is None:
            if looks:
                self._later(self._context.runtime.scheduler.seconds(AGAIN_AFTER), call, looks - 1)
        elif call.kind is CallKind.NOTE:
            self._spawn(call.task, lambda: ax.activity.update(activity, "Seen by a service."))
        else:
            self._spawn(call.task, lambda: self._read(call.task, activity))

    def _read(self, number: int, activity: UUID) -> None:
        text = self.client.simulated_queue.result(activity)
        if text is not None:
            value = {"task": number, "activity": str(activity), "result": json.loads(text)}
            self._context.recorder.record("client", OperationType.INFO, RESULT, **value)

    def _spawn(self, number: int, call: Callable[[], object]) -> None:
        def made() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - its outcome is unknown, as for any caller
                line = f"call about task {number} failed: {error}"
                self._context.recorder.trace_line(self.client.process, line)

        self._context.runtime.scheduler.spawn(self.client.process, cast(Any, made))
