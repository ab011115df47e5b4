"""An application of streaq as a target: its own worker object, on the Redis of a run.

The queue has the name of the run's queue as its prefix. The label of a task is in its data, beside its arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

from harness.environments.base import Endpoints
from harness.errors import UsageError
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.applications.asynchronous import (
    AsynchronousApplication,
    AsynchronousSession,
    require_options,
    survived,
)
from harness.targets.applications.base import class_of, imported, shipped_promises
from harness.targets.applications.message import (
    Make,
    TaskMessage,
    message_of,
    require_known,
    require_served,
    wrong_form,
)
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = "a task such as refund.enqueue(order), (task, args) or (task, args, options), where args are a list or a dict"
_OPTIONS = ("after", "delay", "schedule", "priority")
_TASK = "streaq.task:Task"
_REGISTERED = "streaq.task:RegisteredTask"
_MARGIN_SECONDS = 2.0
"""What an interrupted task waits for beyond the idle time-out and a worker's longest wait, which is as long."""
_STATUSES = {"queued": "queued", "scheduled": "queued", "running": "running"}


def on_run(worker: Any, url: str, run: str) -> Any:
    """Let a worker lead to the Redis of a run, with the name of the run in each of its keys; returns the worker."""
    old = worker.prefix
    base = old.removesuffix(worker.queue_name)
    if not worker.queue_name.startswith(f"{run}:"):
        worker.queue_name = f"{run}:{worker.queue_name}"
    new = worker.prefix = base + worker.queue_name
    for name, value in vars(worker).items():
        if isinstance(value, str) and value.startswith(f"{old}:"):
            setattr(worker, name, new + value.removeprefix(old))
    worker._streams = {worker.stream_key + priority: ">" for priority in worker.priorities}
    worker._redis = imported("coredis").Redis.from_url(url, decode_responses=True)
    worker._sentinel = worker._cluster = None
    return worker


@dataclass(frozen=True, kw_only=True)
class StreaqApplication(AsynchronousApplication):
    """A worker of streaq, whose tasks `make` makes."""

    distribution = "streaq"
    classes = ("streaq.worker:Worker",)
    takes = "a Worker of streaq"

    @classmethod
    def wrap(cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None) -> Self:
        """Wrap a worker; raises `UsageError` for another object, or one on Trio."""
        found = super().wrap(value, make=make, reference=reference, work=work)
        if value.anyio_backend != "asyncio":
            raise UsageError(
                f"app() runs streaq on asyncio, not {value.anyio_backend}. Use asyncio for the runs."
            )
        return found

    @property
    def task_names(self) -> Collection[str]:
        return list(self.own.registry)

    def message(self, number: int) -> TaskMessage:
        """What `make` gives for a number; raises `TargetFailed`."""

        def own_form(made: Any) -> TaskMessage | None:
            if class_of(made, _TASK) is None:
                return None
            if made._after is not None or made._triggers is not None:
                raise wrong_form(number, made, f"{_FORMS}; a chain has more than one task")
            options = {name: getattr(made, name) for name in _OPTIONS}
            given = {name: value for name, value in options.items() if value}
            return TaskMessage(
                name=made.parent.fn_name, args=tuple(made.args), kwargs=dict(made.kwargs), options=given
            )

        made = message_of(self.make, number, forms=_FORMS, name_of=_name_of, own_form=own_form)
        require_known(made.name, self.own.registry, number)
        require_options(made, _OPTIONS, number)
        require_served(
            "priority", made.options.get("priority", self.own.priorities[-1]), self.own.priorities, number
        )
        return made

    def promises(self, settings: TargetSettings) -> Promises:
        """What streaq promises for the task that `make` gives first.

        A task comes back once its worker has been silent for the idle time-out, which is at most the lease of the run.
        One with a single try is not run a second time.
        """
        shipped = shipped_promises("streaq", "grace" if self.own.grace_period else "")
        first = self.first()
        again = first is None or self.own.registry[first.name].max_tries != 1
        idle = idle_seconds(self.own, settings.lease)
        waits = bool(self.own.grace_period)
        survives = shipped.survives if again else frozenset({Loss.SIGTERM} if waits else ())
        killed = survives & {Loss.WORKER_KILLED, Loss.POOL_KILLED}
        return replace(
            shipped,
            survives=survived(survives),
            recovers_within=dict.fromkeys(sorted(killed), 2 * idle + _MARGIN_SECONDS),
            takes_over_after=idle,
            queue=False,
            sigterm=SigtermPromise.RELEASES if waits else SigtermPromise.STOPS,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> StreaqSession:
        return StreaqSession(self, endpoints, settings)


def idle_seconds(worker: Any, lease: float) -> float:
    """For how long a worker of the run may be silent."""
    return min(float(worker.idle_timeout) / 1000, lease)


def _name_of(task: Any) -> str | None:
    return task if isinstance(task, str) else (task.fn_name if class_of(task, _REGISTERED) else None)


class StreaqSession(AsynchronousSession):
    """The workers of an application of streaq, and a copy of its worker object that sends tasks."""

    async def connect(self) -> None:
        own = copy(self.application.own)
        self._worker = on_run(own, self.endpoints.redis_url, self.settings.queue)
        self._labels: dict[str, TaskLabel] = {}
        self._connected, self._closing = asyncio.Event(), asyncio.Event()
        self._connection = asyncio.create_task(self._be_connected())
        waiting = asyncio.create_task(self._connected.wait())
        await asyncio.wait([self._connection, waiting], return_when=asyncio.FIRST_COMPLETED)
        if self._connection.done():
            await self._connection

    async def _be_connected(self) -> None:
        """Be connected until `removed`; streaq has to enter and leave its connection in the same task."""
        async with self._worker:
            self._connected.set()
            await self._closing.wait()

    def worker(self) -> list[str]:
        return ["streaq", "run", "harness.targets.applications.streaq_worker:worker"]

    async def sent(self, message: TaskMessage, activity: str, label: TaskLabel) -> None:
        registered = copy(self._worker.registry[message.name])
        registered.worker = _Labelling(self._worker, label)
        task = registered.enqueue(*message.args, **message.kwargs)
        task.id = activity
        await task.start(**message.options)

    async def found(self, activities: list[str]) -> dict[str, str]:
        worker = self._worker
        results = await worker.redis.mget([worker.results_key + one for one in activities])
        found = {}
        for activity, ended in zip(activities, results, strict=True):
            if ended is not None:
                found[activity] = "complete" if (await worker.deserialize(ended))["s"] else "error"
                continue
            status = await worker.status_by_id(activity)
            if status.value in _STATUSES:
                found[activity] = _STATUSES[status.value]
            elif status.value == "done":  # it ended since the results were read
                found[activity] = "running"
        return found

    async def removed(self) -> None:
        try:
            if keys := await self.keys(self._worker.redis):
                await self._worker.redis.delete(keys)
        finally:
            self._closing.set()
            await self._connection


class _Labelling:
    """A worker whose serializer adds the label of a task to its data."""

    def __init__(self, worker: Any, label: TaskLabel) -> None:
        self._worker = worker
        self._label = label

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    async def serialize(self, data: dict[str, Any]) -> Any:
        return await self._worker.serialize({**data, LABEL: self._label.to_value()})
