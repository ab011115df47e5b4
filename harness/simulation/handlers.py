"""The handlers of simulated tasks: they record their runs, work in virtual time, and end as planned."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, TracebackType
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from agentexec.context import current
from agentexec.task import Handler, Registry, TaskDefinition, TaskOptions
from harness.history import InjectionKind, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.injection import INJECT
from harness.history.names import NEMESIS
from harness.simulation.plan import HandlerEnd, HandlerForm, PlannedTask
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process, Scheduler
from harness.simulation.triggers import REFUSED_REPORT, REFUSED_RESULT

TASK_NAME = "simulated"
# The same handler with a lock key that only the worker derives.
LOCKED_TASK_NAME = "simulated-locked"
# A plain function that its hard time limit ends.
OVERDUE_TASK_NAME = "simulated-overdue"
SOFT_LIMIT, HARD_LIMIT = 0.4, 0.7  # seconds
# A handler records that it is overdue so many seconds before its worker can end for it.
BEFORE_LIMIT = 0.001
STRICT_RETRIES = 1
AS_PLANNED, FOR_GOOD, TOO_LONG = "as planned", "for good", "past its soft limit"
GIVES_UP, CLOSED = "It gives up.", "Done, as it says itself."
# The numbers of the faults that handlers are themselves begin here.
OWN_FAULTS = 1000
OVERDUE = "overdue-handler"
"""What the history calls a handler past its hard time limit, which costs its worker its life."""


class SimulatedTask(BaseModel):
    """The context of a simulated task, taken from its `PlannedTask`."""

    number: int
    work: float
    failures: int
    progress: int
    burst: int
    form: HandlerForm
    end: HandlerEnd
    lock: str | None


class PlannedFailure(Exception):
    """A failure of a handler, as its plan requires. It has no frames: their text takes as long as some statements."""

    def with_traceback(self, _: TracebackType | None, /) -> Self:
        """Drop the frames, which agentexec cuts off above the handler."""
        return super().with_traceback(None)


class FinalFailure(PlannedFailure):
    """Another type of error, of which a registration may say that no retry helps."""


class RetriedFailure(PlannedFailure):
    """The type of the planned failures, after which a retry may help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _HandlerCall:
    """One run of a handler: its process, its task, and the keys of what it records."""

    process: Process
    activity: UUID
    fence: int
    context: SimulatedTask
    value: Mapping[str, object]
    began: int


class SimulatedHandlers:
    """The handlers of all simulated workers, and their outside effects, which outlive the worker processes."""

    def __init__(self, scheduler: Scheduler, recorder: SimulatedRecorder, *, two_versions: bool) -> None:
        """With `two_versions` the first pool knows one task less."""
        self._two_versions = two_versions
        self._scheduler = scheduler
        self._recorder = recorder
        self._failed: Counter[int] = Counter()
        self._effects: dict[UUID, int] = {}  # per activity, the highest fencing token of an accepted effect
        self._overdue = 0
        self.registry = Registry()
        handlers: Mapping[str, Handler] = {
            task_name(HandlerForm.AWAITABLE): self._handle_twice,
            task_name(HandlerForm.THREAD): self._handle_in_thread,
            OVERDUE_TASK_NAME: self._handle_in_thread,
        }
        for inspected in _inspected():
            definition = copy(inspected)
            definition.handler = handlers.get(definition.name, self._handle)
            self.registry.add(definition)

    def registry_of(self, pool: int) -> Registry:
        """The tasks that a pool knows."""
        if pool or not self._two_versions:
            return self.registry
        return Registry({name: one for name, one in self.registry.items() if name != LOCKED_TASK_NAME})

    async def _handle(self, agent_id: UUID, context: SimulatedTask) -> object:
        run = self._begin(agent_id, context)
        try:
            for pause in self._work(run):
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            self._stopped(run)
            raise
        return self._end(run)

    async def _handle_twice(self, agent_id: UUID, context: SimulatedTask) -> Coroutine[Any, Any, object]:
        """A handler that forgets an `await`."""
        return self._handle(agent_id, context)

    def _handle_in_thread(self, agent_id: UUID, context: SimulatedTask) -> object:
        run = self._begin(agent_id, context)
        if context.end is HandlerEnd.OVERDUE:
            self._scheduler.pause(HARD_LIMIT - BEFORE_LIMIT)
            self._go_on(run)
        for pause in self._work(run):
            self._scheduler.pause(pause)
        return self._end(run)

    def _begin(self, agent_id: UUID, context: SimulatedTask) -> _HandlerCall:
        process, task = self._scheduler.process, current.get()
        assert process is not None, "handlers run in workers"
        value = {
            "task": context.number,
            "activity": str(agent_id),
            "attempt": task.attempt,
            "fence": task.fence,
        }
        if context.lock is not None:
            value["lock"] = context.lock
        self._recorder.by(process, OperationType.INVOKE, "run", **value)
        self._take_effect(process, agent_id, task.fence, context.number)
        return _HandlerCall(
            process=process,
            activity=agent_id,
            fence=task.fence,
            context=context,
            value=value,
            began=self._scheduler.now,
        )

    def _work(self, run: _HandlerCall) -> Iterator[float]:
        """The pauses in seconds of which the work consists; reports are made between them."""
        context, key = run.context, {name: run.value[name] for name in ("task", "activity", "fence")}
        for number in range(1, context.burst + 1):
            ax.activity.update(run.activity, burst_message(number))
        if context.end is HandlerEnd.REFUSED:
            ax.activity.update(run.activity, REFUSED_REPORT)
        steps = context.progress + 1
        for step in range(1, steps):
            yield context.work / steps
            percentage = 100 * step // steps
            self._recorder.by(run.process, OperationType.INFO, "report", **key, percentage=percentage)
            ax.activity.update(run.activity, f"step {step}", percentage=percentage)
        yield context.work / steps
        if context.end is HandlerEnd.OVERDUE:
            yield 2 * SOFT_LIMIT

    def _end(self, run: _HandlerCall) -> object:
        """What the handler returns; raises its error."""
        context = run.context
        if self._failed[context.number] < context.failures:
            self._failed[context.number] += 1
            self._fail(run, AS_PLANNED)
            raise RetriedFailure(AS_PLANNED)
        match context.end:
            case HandlerEnd.RAISES:
                self._fail(run, FOR_GOOD)
                raise FinalFailure(FOR_GOOD)
            case HandlerEnd.GIVES_UP:
                ax.activity.error(run.activity, GIVES_UP)
                self._fail(run, GIVES_UP)
                return GIVES_UP
            case HandlerEnd.UNWRITABLE:
                self._fail(run, HandlerEnd.UNWRITABLE)
                return object()
            case HandlerEnd.REFUSED:
                self._fail(run, HandlerEnd.REFUSED)
                return REFUSED_RESULT
            case HandlerEnd.CLOSES:
                ax.activity.complete(run.activity, CLOSED)
        result = f"of fence {run.fence}"
        self._recorder.by(run.process, OperationType.OK, "run", **run.value, result=result)
        return result

    def _stopped(self, run: _HandlerCall) -> None:
        """The handler is canceled: by its time limit, or for another reason."""
        passed = (self._scheduler.now - run.began) / NANOSECONDS
        if run.context.form is HandlerForm.LIMITED and passed >= SOFT_LIMIT:
            self._fail(run, TOO_LONG)
        else:
            self._recorder.by(run.process, OperationType.INFO, "run", **run.value)

    def _go_on(self, run: _HandlerCall) -> None:
        """Work past the hard time limit, until the worker ends."""
        self._overdue += 1
        if run.process.alive:
            value = {"fault": OWN_FAULTS + self._overdue, "phase": INJECT, "kind": InjectionKind.STOP}
            value |= {"pids": [run.process.pid], "seconds": 0.0, "at": run.process.name}
            self._recorder.record(NEMESIS, OperationType.INFO, OVERDUE, **value)
        self._fail(run, OVERDUE)
        while True:
            self._scheduler.pause(1.0)

    def _fail(self, run: _HandlerCall, why: str) -> None:
        self._recorder.by(run.process, OperationType.FAIL, "run", **run.value, error=why)

    def _take_effect(self, process: Process, agent_id: UUID, fence: int, number: int) -> None:
        """An effect outside of the system, which refuses a token that is not higher than every earlier one."""
        taken = fence > self._effects.get(agent_id, 0)
        if taken:
            self._effects[agent_id] = fence
        kind = OperationType.OK if taken else OperationType.FAIL
        self._recorder.by(process, kind, "effect", task=number, activity=str(agent_id), fence=fence)


def task_name(form: HandlerForm) -> str:
    """The name of the task with a handler of this form."""
    return TASK_NAME if form is HandlerForm.COROUTINE else f"{TASK_NAME}-{form}"


def name_of(task: PlannedTask) -> str:
    """The name under which a task is enqueued."""
    if task.late_lock and task.lock is not None:
        return LOCKED_TASK_NAME
    overdue = task.form is HandlerForm.THREAD and task.end is HandlerEnd.OVERDUE
    return OVERDUE_TASK_NAME if overdue else task_name(task.form)


def burst_message(number: int) -> str:
    """The text of this report of a burst."""
    return f"burst {number}"


async def _unbound(agent_id: UUID, context: SimulatedTask) -> str:
    """The signature of the handlers; each run has handlers of its own."""
    return f"{agent_id} {context}"


def _unbound_function(agent_id: UUID, context: SimulatedTask) -> str:
    """The signature of the handlers that run in threads."""
    return f"{agent_id} {context}"


_OPTIONS: Mapping[str, TaskOptions] = MappingProxyType(
    {
        TASK_NAME: {},
        LOCKED_TASK_NAME: {"lock_key": "{lock}"},
        task_name(HandlerForm.AWAITABLE): {},
        task_name(HandlerForm.STRICT): {"max_retries": STRICT_RETRIES, "retry_on": RetriedFailure},
        task_name(HandlerForm.LIMITED): {"soft_time_limit": SOFT_LIMIT},
        task_name(HandlerForm.THREAD): {},
        OVERDUE_TASK_NAME: {"time_limit": HARD_LIMIT},
    }
)
_IN_THREADS = frozenset({task_name(HandlerForm.THREAD), OVERDUE_TASK_NAME})


@cache
def _inspected() -> tuple[TaskDefinition, ...]:
    """The tasks without their handlers, for all runs: their models and fingerprints are the same."""
    tasks = [
        TaskDefinition(name, _unbound_function if name in _IN_THREADS else _unbound, **options)
        for name, options in _OPTIONS.items()
    ]
    assert all(task.fingerprint for task in tasks)  # it is kept in the task, and copied with it
    return tuple(tasks)
