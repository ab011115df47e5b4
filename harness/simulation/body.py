"""The handler of a simulated task: it records what it does, works in virtual time, and fails as often as planned."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from agentexec.context import current
from agentexec.task import Registry, TaskDefinition
from harness.history import OperationType
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process, Scheduler

TASK_NAME = "simulated"
LOCKED = "simulated-locked"  # the same, with a lock key that only workers know of


class Simulated(BaseModel):
    """What a simulated task travels with; see `PlannedTask`."""

    number: int
    work: float
    failures: int
    progress: int
    lock: str | None


class PlannedFailure(Exception):
    """A handler fails because its plan says so."""


class Bodies:
    """The handlers of all simulated workers; their effects outlive the process that had them."""

    def __init__(self, scheduler: Scheduler, recorder: SimulatedRecorder) -> None:
        self._scheduler = scheduler
        self._recorder = recorder
        self._failed: Counter[int] = Counter()
        self._effects: dict[UUID, int] = {}  # the highest fence that an effect was taken under, per activity
        self.registry = Registry()
        self.registry.add(TaskDefinition(TASK_NAME, self._handle))
        self.registry.add(TaskDefinition(LOCKED, self._handle, lock_key="{lock}"))

    async def _handle(self, agent_id: UUID, context: Simulated) -> None:
        process, task = self._scheduler.process, current.get()
        assert process is not None, "handlers run in workers"
        assert task is not None, "handlers have a task"
        value = {
            "task": context.number,
            "activity": str(agent_id),
            "attempt": task.attempt,
            "fence": task.fence,
        }
        if context.lock is not None:
            value["lock"] = context.lock
        self._recorder.by(process, OperationType.INVOKE, "run", **value)
        try:
            self._take_effect(process, agent_id, task.fence, context.number)
            await self._work(process, agent_id, task.fence, context)
        except asyncio.CancelledError:
            self._recorder.by(process, OperationType.INFO, "run", **value)
            raise
        except PlannedFailure as error:
            self._recorder.by(process, OperationType.FAIL, "run", **value, error=str(error))
            raise
        self._recorder.by(process, OperationType.OK, "run", **value)

    def _take_effect(self, process: Process, agent_id: UUID, fence: int, number: int) -> None:
        """Outside of the system, where a token that is not above all before is refused."""
        taken = fence > self._effects.get(agent_id, 0)
        if taken:
            self._effects[agent_id] = fence
        kind = OperationType.OK if taken else OperationType.FAIL
        self._recorder.by(process, kind, "effect", task=number, activity=str(agent_id), fence=fence)

    async def _work(self, process: Process, agent_id: UUID, fence: int, context: Simulated) -> None:
        key = {"task": context.number, "activity": str(agent_id), "fence": fence}
        steps = context.progress + 1
        for step in range(1, steps):
            await asyncio.sleep(context.work / steps)
            percentage = 100 * step // steps
            self._recorder.by(process, OperationType.INFO, "report", **key, percentage=percentage)
            ax.activity.update(agent_id, f"step {step}", percentage=percentage)
        await asyncio.sleep(context.work / steps)
        if self._failed[context.number] < context.failures:
            self._failed[context.number] += 1
            raise PlannedFailure("as planned")
