"""A service in a simulation: it calls the public API about tasks that a producer enqueued, and keeps its own work."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import agentexec as ax
from agentexec.activity.retention import cleanup_old_activities
from agentexec.producer.client import Client
from harness.history import OperationType
from harness.history.figures import NANOSECONDS
from harness.history.names import RESULT
from harness.simulation.by_hand import LIVES, ManualActivity
from harness.simulation.context import SimulationContext
from harness.simulation.plan import CallKind, PlannedCall
from harness.simulation.producer import PlannedSubmissions

# Seconds until a service that does not know the id of a task yet looks again, and how often it looks.
AGAIN_AFTER, LOOKS = 0.25, 40
FAILED = "Failed on request."
# Rows that a clean-up moves in one transaction.
BATCH = 8


class SimulatedClient(Client):
    """The client of a service, over the simulated connections of its own process."""

    def __init__(self, context: SimulationContext) -> None:
        self.process = context.runtime.new_process("service")
        self.engine = context.database(self.process)
        self.simulated_queue = context.queue(self.process)
        self.settings = context.settings

    def queue_of(self, queue_name: str) -> Any:  # noqa: ARG002 - there is one queue
        return self.simulated_queue


class SimulatedService:
    """One process that makes the planned calls and ends tasks on request. `client` must be the process's default."""

    def __init__(self, context: SimulationContext, submissions: PlannedSubmissions) -> None:
        self._context = context
        self._submissions = submissions
        self.client = SimulatedClient(context)
        self.by_hand: list[ManualActivity] = []
        for call in context.plan.calls:
            self._later(round(call.at * NANOSECONDS), call, LOOKS)

    def fail(self, number: int, activity: UUID) -> None:
        """End a task as ERROR now."""
        self._spawn(f"call about task {number}", lambda: ax.activity.error(activity, FAILED))

    def _later(self, when: int, call: PlannedCall, looks: int) -> None:
        self._context.runtime.scheduler.at(when, self.client.process, lambda: self._make(call, looks))

    def _make(self, call: PlannedCall, looks: int) -> None:
        about = f"call about task {call.task}"
        match call.kind:
            case CallKind.CLEAN_UP:
                self._spawn(call.kind, self._clean_up)
            case CallKind.BY_HAND:
                kept = ManualActivity(self._context.runtime.new_id())
                self.by_hand.append(kept)
                life = LIVES[call.task % len(LIVES)]
                self._spawn(call.kind, lambda: kept.live(self._context.runtime, life))
            case _ if (activity := self._submissions.activities.get(call.task)) is None:
                if looks:
                    self._later(self._context.runtime.scheduler.seconds(AGAIN_AFTER), call, looks - 1)
            case CallKind.NOTE:
                self._spawn(about, lambda: ax.activity.update(activity, "Seen by a service."))
            case CallKind.READ_RESULT:
                self._spawn(about, lambda: self._read(call.task, activity))

    def _clean_up(self) -> None:
        """Move what is over into the archive."""
        now = datetime.fromtimestamp(self._context.runtime.unix(), UTC)
        moved = cleanup_old_activities(self.client.engine, older_than=now, archive=True, batch_size=BATCH)
        if moved:
            self._context.reached.add("clean-up-moves-rows")
        self._context.recorder.trace_line(self.client.process, f"moves {moved} activities into the archive")

    def _read(self, number: int, activity: UUID) -> None:
        text = self.client.simulated_queue.result(activity)
        if text is not None:
            value = {"task": number, "activity": str(activity), "result": json.loads(text)}
            self._context.recorder.record("client", OperationType.INFO, RESULT, **value)

    def _spawn(self, what: str, call: Callable[[], object]) -> None:
        def made() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - its outcome is unknown, as for any caller
                self._context.recorder.trace_line(self.client.process, f"{what} failed: {error}")

        self._context.runtime.scheduler.spawn(self.client.process, cast(Any, made))
