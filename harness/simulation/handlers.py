"""The handlers of simulated tasks: they record their runs, work in virtual time, and fail as often as planned."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import copy
from functools import cache
from types import TracebackType
from typing import Self
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from agentexec.context import current
from agentexec.task import Registry, TaskDefinition
from harness.history import OperationType
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process, Scheduler

TASK_NAME = "simulated"
# The same handler with a lock key that only the worker derives.
LOCKED_TASK_NAME = "simulated-locked"
AS_PLANNED = "as planned"


class SimulatedTask(BaseModel):
    """The context of a simulated task, taken from its `PlannedTask`."""

    number: int
    work: float
    failures: int
    progress: int
    lock: str | None


class PlannedFailure(Exception):
    """A failure of a handler, as its plan requires. It has no frames: their text takes as long as some statements."""

    def with_traceback(self, _: TracebackType | None, /) -> Self:
        """Drop the frames, which agentexec cuts off above the handler."""
        return super().with_traceback(None)


class SimulatedHandlers:
    """The handlers of all simulated workers, and their outside effects, which outlive the worker processes."""

    def __init__(self, scheduler: Scheduler, recorder: SimulatedRecorder, *, two_versions: bool) -> None:
        """With `two_versions` the first pool knows one task less."""
        self._two_versions = two_versions
        self._scheduler = scheduler
        self._recorder = recorder
        self._failed: Counter[int] = Counter()
        self._effects: dict[UUID, int] = {}  # per activity, the highest fencing token of an accepted effect
        self.registry = Registry()
        for inspected in _inspected():
            definition = copy(inspected)
            definition.handler = self._handle
            self.registry.add(definition)

    def registry_of(self, pool: int) -> Registry:
        """The tasks that a pool knows."""
        if pool or not self._two_versions:
            return self.registry
        return Registry({TASK_NAME: self.registry[TASK_NAME]})

    async def _handle(self, agent_id: UUID, context: SimulatedTask) -> str:
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
        if self._failed[context.number] < context.failures:
            self._failed[context.number] += 1
            self._recorder.by(process, OperationType.FAIL, "run", **value, error=AS_PLANNED)
            raise PlannedFailure(AS_PLANNED)
        result = f"of fence {task.fence}"
        self._recorder.by(process, OperationType.OK, "run", **value, result=result)
        return result

    def _take_effect(self, process: Process, agent_id: UUID, fence: int, number: int) -> None:
        """An effect outside of the system, which refuses a token that is not higher than every earlier one."""
        taken = fence > self._effects.get(agent_id, 0)
        if taken:
            self._effects[agent_id] = fence
        kind = OperationType.OK if taken else OperationType.FAIL
        self._recorder.by(process, kind, "effect", task=number, activity=str(agent_id), fence=fence)

    async def _work(self, process: Process, agent_id: UUID, fence: int, context: SimulatedTask) -> None:
        key = {"task": context.number, "activity": str(agent_id), "fence": fence}
        steps = context.progress + 1
        for step in range(1, steps):
            await asyncio.sleep(context.work / steps)
            percentage = 100 * step // steps
            self._recorder.by(process, OperationType.INFO, "report", **key, percentage=percentage)
            ax.activity.update(agent_id, f"step {step}", percentage=percentage)
        await asyncio.sleep(context.work / steps)


async def _unbound(agent_id: UUID, context: SimulatedTask) -> str:
    """The signature of the handler; each run has a handler of its own."""
    return f"{agent_id} {context}"


@cache
def _inspected() -> tuple[TaskDefinition, TaskDefinition]:
    """The tasks without their handler, for all runs: their models and fingerprints are the same."""
    tasks = TaskDefinition(TASK_NAME, _unbound), TaskDefinition(LOCKED_TASK_NAME, _unbound, lock_key="{lock}")
    assert all(task.fingerprint for task in tasks)  # it is kept in the task, and copied with it
    return tasks
