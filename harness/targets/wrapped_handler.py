"""A handler of an application, wrapped from outside: its run is recorded, and faults find it at its gate.

What the harness has to know of a task travels with it as a `TaskLabel`. The handler runs first. Then its run stays
open, at its gate and for the work of the workload: a fault then falls between the effect of a handler and its
acknowledgement, which is the moment that an unsafe handler does not survive.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self

from harness.history import CHILD
from harness.kit.harness_worker import settings, worker
from harness.kit.harness_worker.gates import pass_gate, pass_gate_blocking
from harness.kit.harness_worker.recording import worker_file
from harness.targets.base import TaskSpec

LABEL = "__harness__"
"""The key of a label in the arguments or the context of a task."""

_SCHEDULED = "scheduled"
_of_schedule: ContextVar[bool] = ContextVar("harness_of_schedule", default=False)


def label_of_child() -> dict[str, Any] | None:
    """The label of a task that this code enqueues: one in a run of a schedule, None in any other."""
    return {_SCHEDULED: True} if _of_schedule.get() else None


@contextmanager
def run_of_schedule() -> Iterator[None]:
    """Let tasks that a `with` block enqueues be tasks of a schedule."""
    before = _of_schedule.set(True)
    try:
        yield
    finally:
        _of_schedule.reset(before)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLabel:
    """The number of a task, the seconds for which its run stays open, its gate, and its lock key."""

    number: int
    work: float = 0.0
    gate: str | None = None
    lock: str | None = None

    @classmethod
    def of(cls, task: TaskSpec, *, work: float | None, lock: str | None) -> Self:
        """The label of a submitted task; `work` replaces that of the workload."""
        return cls(number=task.number, work=task.work if work is None else work, gate=task.gate, lock=lock)

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read `to_value`; None for anything else."""
        match value:
            case {"number": int(number), "work": int() | float() as work}:
                return cls(number=number, work=work, gate=value.get("gate"), lock=value.get("lock"))
            case _:
                return None

    def to_value(self) -> dict[str, Any]:
        """The label as JSON, without what is empty."""
        value = {"number": self.number, "work": self.work, "gate": self.gate, "lock": self.lock}
        return {name: one for name, one in value.items() if one is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class WrappedRun:
    """One run of a handler. A task without a label is a child: it is recorded, and has no gate and no effect.

    A child that is `scheduled`, by a schedule or by a run of one, comes again and again. It is no progress of the
    tasks of the run, so the drain does not wait for it.
    """

    label: TaskLabel | None
    name: str
    activity: str
    attempt: int | None
    fence: int | None
    scheduled: bool = False

    @classmethod
    def of(
        cls, label: Any, *, name: str, activity: str, attempt: int | None, scheduled: bool = False
    ) -> Self:
        """A run without a fencing token of a task with this value of a label, which may be None.

        A child is scheduled if its label says so, or if the task is `scheduled`.
        """
        by_schedule = isinstance(label, dict) and label.get(_SCHEDULED) is True
        return cls(
            label=TaskLabel.from_value(label),
            name=name,
            activity=activity,
            attempt=attempt,
            fence=None,
            scheduled=scheduled or by_schedule,
        )

    def call(self, handler: Callable[[], Any]) -> Any:
        """Run a handler in this thread. If it returns an awaitable, so does this, and the run ends with it."""
        with ExitStack() as run:
            run.enter_context(self._recorded())
            try:
                value = handler()
            except Exception:
                self._wait_at_gate()
                raise
            if inspect.isawaitable(value):
                return self._awaited(value, run.pop_all())
            self._wait_at_gate()
            time.sleep(self._work)
            return value

    async def call_async(self, handler: Callable[[], Any]) -> Any:
        """Run a handler on this event loop and await what it returns."""
        with self._recorded():
            return await self._result(handler)

    async def _awaited(self, value: Awaitable[Any], run: ExitStack) -> Any:
        with run:
            return await self._result(lambda: value)

    async def _result(self, handler: Callable[[], Any]) -> Any:
        gate = self._gate
        try:
            value = handler()
            while inspect.isawaitable(value):
                value = await value
        except Exception:
            if gate is not None:
                await pass_gate(settings.gate, *gate)
            raise
        if gate is not None:
            await pass_gate(settings.gate, *gate)
        await asyncio.sleep(self._work)
        return value

    def _wait_at_gate(self) -> None:
        if self._gate is not None:
            pass_gate_blocking(settings.gate, *self._gate)

    @property
    def _gate(self) -> tuple[str, int] | None:
        label = self.label
        return None if label is None or label.gate is None else (label.gate, label.number)

    @property
    def _work(self) -> float:
        return 0.0 if self.label is None else self.label.work

    def _recorded(self) -> AbstractContextManager[object]:
        label = self.label
        if label is None:
            return self._recorded_child()
        run: dict[str, Any] = {"activity": self.activity, "attempt": self.attempt, "fence": self.fence}
        return worker.run(label.number, lock=label.lock, **run)

    @contextmanager
    def _recorded_child(self) -> Iterator[None]:
        file = worker_file()
        value: dict[str, object] = {
            "name": self.name,
            "activity": self.activity,
            "attempt": self.attempt,
            "fence": self.fence,
            **({_SCHEDULED: True} if self.scheduled else {}),
        }
        file.record("invoke", CHILD, value)
        try:
            with run_of_schedule() if self.scheduled else nullcontext():
                yield
        except Exception as error:
            file.record("fail", CHILD, {**value, "error": f"{type(error).__name__}: {error}"})
            raise
        except BaseException:
            file.record("info", CHILD, value)
            raise
        file.record("ok", CHILD, value)
