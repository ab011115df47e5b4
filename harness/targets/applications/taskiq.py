"""An application of taskiq as a target: its own broker of taskiq-redis, on the Redis of a run.

Queue and results have the name of the run's queue as their prefix. The label of a task is a label of its message.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from harness.environments.base import Endpoints
from harness.history.promises import Promises
from harness.kit.harness_worker import running_activities
from harness.targets.applications.asynchronous import (
    AsynchronousApplication,
    AsynchronousSession,
    survived,
)
from harness.targets.applications.base import class_of, imported, shipped_promises
from harness.targets.applications.message import TaskMessage, message_of, require_known, require_served
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = (
    "a TaskiqMessage, (task, args) or (task, args, labels), where args are a list or a dict, "
    "and a kicker may be in the place of the task"
)
_LIST = "taskiq_redis.redis_broker:ListQueueBroker"
_STREAM = "taskiq_redis.redis_broker:RedisStreamBroker"
_TASK = "taskiq.decor:AsyncTaskiqDecoratedTask"
_KICKER = "taskiq.kicker:AsyncKicker"
_MESSAGE = "taskiq.message:TaskiqMessage"
_QUEUE_LABEL = "queue_name"


def idle_seconds(broker: Any, lease: float) -> float:
    """For how long a message of a stream may be with one worker.

    It is at most twice the lease of a run, because it is not renewed while a task waits at its gate.
    """
    return min(float(broker.idle_timeout) / 1000, 2 * lease)


def on_run(broker: Any, url: str, run: str, lease: float) -> Any:
    """Give each key of a broker the name of a run as its prefix; returns the broker.

    Its results are kept in the Redis of the run, also those of a broker that keeps none, because a task without a
    record has no end.
    """

    def queue(name: str) -> str:
        return name if name.startswith(f"{run}:") else f"{run}:{name}"

    broker.queue_name = queue(broker.queue_name)
    serializer = getattr(broker.result_backend, "serializer", None)
    broker.result_backend = imported("taskiq_redis").RedisAsyncResultBackend(
        url, serializer=serializer, prefix_str=run
    )
    if class_of(broker, _STREAM) is not None:
        broker.additional_streams = {queue(name): one for name, one in broker.additional_streams.items()}
        broker.idle_timeout = int(idle_seconds(broker, lease) * 1000)
    own = type(broker).kick

    async def kick(message: Any) -> None:
        if message.labels.get(_QUEUE_LABEL):
            message.labels = {**message.labels, _QUEUE_LABEL: queue(message.labels[_QUEUE_LABEL])}
        await own(broker, message)

    broker.kick = kick
    return broker


@dataclass(frozen=True, kw_only=True)
class TaskiqApplication(AsynchronousApplication):
    """A broker of taskiq-redis, whose tasks `make` makes."""

    distribution = "taskiq"
    classes = (_LIST, _STREAM)
    takes = "a ListQueueBroker or a RedisStreamBroker of taskiq-redis"

    @property
    def is_stream(self) -> bool:
        """Whether the broker is a stream, whose messages are acknowledged."""
        return class_of(self.own, _STREAM) is not None

    @property
    def task_names(self) -> Collection[str]:
        return list(self.own.get_all_tasks())

    def message(self, number: int) -> TaskMessage:
        """What `make` gives for a number; raises `TargetFailed`."""

        def own_form(made: Any) -> TaskMessage | None:
            if class_of(made, _MESSAGE) is not None:
                return TaskMessage(
                    name=made.task_name, args=tuple(made.args), kwargs=made.kwargs, options=made.labels
                )
            if isinstance(made, tuple) and made and class_of(made[0], _KICKER) is not None:
                labels = made[0].labels
                plain = message_of(
                    lambda _: (_name_of(made[0]), *made[1:]), number, forms=_FORMS, name_of=_name_of
                )
                return replace(plain, options={**labels, **plain.options})
            return None

        made = message_of(self.make, number, forms=_FORMS, name_of=_name_of, own_form=own_form)
        require_known(made.name, self.own.get_all_tasks(), number)
        served = [self.own.queue_name, *getattr(self.own, "additional_streams", ())]
        labels = {**self.own.find_task(made.name).labels, **made.options}
        require_served("queue", labels.get(_QUEUE_LABEL) or self.own.queue_name, served, number)
        return made

    def promises(self, settings: TargetSettings) -> Promises:
        """What taskiq promises with this broker, for the task that `make` gives first.

        A list loses what a worker has taken. A message of a stream comes back after the idle time-out, which is at most
        twice the lease of the run, unless its task is acknowledged when it is received.
        """
        first = self.first()
        labels = {**self.own.find_task(first.name).labels, **first.options} if first else {}
        early = str(getattr(labels.get("ack_type"), "value", labels.get("ack_type"))) == "when_received"
        again = self.is_stream and not early
        shipped = shipped_promises("taskiq", "stream" if again else "")
        idle = idle_seconds(self.own, settings.lease) if self.is_stream else None
        return replace(
            shipped,
            survives=survived(shipped.survives),
            takes_over_after=idle if again else None,
            queue=False,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TaskiqSession:
        return TaskiqSession(self, endpoints, settings)


def _name_of(task: Any) -> str | None:
    if isinstance(task, str):
        return task
    return str(task.task_name) if class_of(task, _TASK, _KICKER) else None


class TaskiqSession(AsynchronousSession):
    """The workers of an application of taskiq, and a copy of its broker that sends tasks.

    The middlewares of the application run with it, as in a client of its own, but not the events of its start, which
    may reach servers of the user.
    """

    async def connect(self) -> None:
        url = self.endpoints.redis_url
        self._broker = on_run(copy(self.application.own), url, self.settings.queue, self.settings.lease)
        self._broker.connection_pool = imported("redis.asyncio").BlockingConnectionPool.from_url(url)
        self._redis = imported("redis.asyncio").Redis(connection_pool=self._broker.connection_pool)
        self._broker.event_handlers = defaultdict(list)
        await self._broker.startup()

    def command(self, pool: str) -> list[str]:
        del pool
        return [sys.executable, "-m", *self.worker()]

    def worker(self) -> list[str]:
        module = "harness.targets.applications.taskiq_worker"
        return [
            *("taskiq", "worker", f"{module}:broker", "--receiver", f"{module}:RecordingReceiver"),
            *("--workers", str(self.settings.workers)),
            *("--max-async-tasks", str(self.settings.concurrency)),
        ]

    async def sent(self, message: TaskMessage, activity: str, label: TaskLabel) -> None:
        kicker = (
            self._broker.find_task(message.name).kicker().with_broker(self._broker).with_task_id(activity)
        )
        labels = {**message.options, LABEL: json.dumps(label.to_value())}
        await kicker.with_labels(**labels).kiq(*message.args, **message.kwargs)

    async def found(self, activities: list[str]) -> dict[str, str]:
        running = running_activities(str(self.settings.history))
        held = await self._held()
        names = [f"{self.settings.queue}:{activity}" for activity in activities]
        found = {}
        for activity, ended in zip(activities, await self._redis.mget(names), strict=True):
            if ended is not None:
                result = self._broker.result_backend.serializer.loadb(ended)
                found[activity] = "error" if result["is_err"] else "complete"
            elif activity in running:
                found[activity] = "running"
            elif activity in held:
                found[activity] = "running" if held[activity] else "queued"
        return found

    async def _held(self) -> dict[str, bool]:
        """The tasks that the broker holds, and whether a worker has taken them; a list holds only those that wait."""
        broker, redis = self._broker, self._redis
        if class_of(broker, _STREAM) is None:
            return {self._task_id(one): False for one in await redis.lrange(broker.queue_name, 0, -1)}
        held = {}
        for stream in (broker.queue_name, *broker.additional_streams):
            if not await redis.exists(stream):
                continue
            pending = await redis.xpending_range(stream, broker.consumer_group_name, "-", "+", _MOST_PENDING)
            taken = {one["message_id"] for one in pending}
            groups = {one["name"]: one["last-delivered-id"] for one in await redis.xinfo_groups(stream)}
            last = _order_of(groups[broker.consumer_group_name.encode()])
            for message, fields in await redis.xrange(stream):
                if message in taken or _order_of(message) > last:
                    held[self._task_id(fields[b"data"])] = message in taken
        return held

    def _task_id(self, data: bytes) -> str:
        return str(self._broker.formatter.loads(message=data).task_id)

    async def removed(self) -> None:
        try:
            if keys := await self.keys(self._redis):
                await self._redis.delete(*keys)
        finally:
            await self._broker.shutdown()


_MOST_PENDING = 10_000


def _order_of(message_id: bytes) -> tuple[int, int]:
    """The place of a message in its stream."""
    milliseconds, sequence = message_id.split(b"-")
    return int(milliseconds), int(sequence)
