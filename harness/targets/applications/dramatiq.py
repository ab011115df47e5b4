"""An application of Dramatiq as a target: its own actors, broker options and middleware, on the servers of a run.

On Redis, the namespace of every key begins with the name of the run's queue, so the queues keep their names. How tasks
end is in a hash that the workers write, because Dramatiq itself keeps no record.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, describe_error
from harness.history.promises import Loss, Promises
from harness.kit.harness_worker.environment import service_variable
from harness.targets.applications.base import (
    OUTSIDE,
    OwnApplication,
    OwnSession,
    class_of,
    imported,
    shipped_promises,
)
from harness.targets.applications.dramatiq_rabbitmq import (
    RABBITMQ_BROKER,
    RabbitmqMessages,
    is_on_rabbitmq,
    lead_to_rabbitmq,
    rabbitmq_url,
)
from harness.targets.applications.message import TaskMessage, message_of
from harness.targets.applications.redis_database import repoint
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = (
    "a message such as refund.message(order), (actor, args) or (actor, args, options), "
    "where args are a list or a dict"
)
# How long others take, beyond the heartbeat time-out, to find a dead worker, and to begin its tasks.
_POLL_SECONDS, _START_SECONDS = 2.0, 10.0
# How many heartbeats of a connection RabbitMQ waits for at most.
_HEARTBEATS = 3
_UNCONFIRMED = frozenset({Loss.BROKER_RESTARTED, Loss.BROKER_FROZEN, Loss.REPLY_LOST})
_ACTOR, _MESSAGE, _PIPELINE = (
    *("dramatiq.actor:Actor", "dramatiq.message:Message"),
    "dramatiq.composition:pipeline",
)


def lead_to(broker: Any, url: str) -> None:
    """Let the connections of a broker, and of the backends that its middleware has, lead to a Redis."""
    backends = (getattr(one, "backend", None) for one in broker.middleware)
    clients: set[Any] = {getattr(one, "client", None) for one in (broker, *backends)}
    for client in clients - {None}:
        repoint(client.connection_pool, url)


def put_on(broker: Any, *, queue: str, lease: float) -> None:
    """Give a broker the namespace of a run and its lease as heartbeat time-out; each command looks for dead workers.

    A broker on RabbitMQ has none of these.
    """
    if is_on_rabbitmq(broker):
        return
    broker.namespace = f"{queue}:{broker.namespace}"
    broker.heartbeat_timeout = int(lease * 1000)
    broker.maintenance_chance = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """The hash in the Redis of a run with how tasks ended, by their ids."""

    redis: Any
    key: str

    @classmethod
    def of(cls, broker: Any, *, url: str, queue: str) -> Ends:
        """That of a broker which is on the run; raises `TargetFailed` if the client of Redis is not installed."""
        if not is_on_rabbitmq(broker):
            return cls(redis=broker.client, key=f"{broker.namespace}:harness-ended")
        try:
            return cls(redis=imported("redis").Redis.from_url(url), key=f"{queue}:harness-ended")
        except ImportError:
            raise TargetFailed(
                "How tasks of Dramatiq end is noted in Redis, whose client is not installed. Install redis."
            ) from None

    def note(self, activity: str, status: str) -> None:
        """Note how a task ended."""
        self.redis.hset(self.key, activity, status)

    def statuses(self) -> dict[str, str]:
        """The last note of each task."""
        return {
            activity.decode(): status.decode() for activity, status in self.redis.hgetall(self.key).items()
        }


def name_of(task: Any) -> str | None:
    """The name of an actor, also of one that is a class, or the name itself; None for anything else."""
    if isinstance(task, str):
        return task
    actor = getattr(task, "__actor__", task)  # that of a GenericActor
    return str(actor.actor_name) if class_of(actor, _ACTOR) else None


def own_form(made: Any) -> TaskMessage | None:
    """The parts of a message of Dramatiq, or of the first of a pipeline; None for anything else."""
    if class_of(made, _PIPELINE):
        made = made.messages[0]
    if class_of(made, _MESSAGE) is None:
        return None
    options = {**made.options, "queue_name": made.queue_name}
    return TaskMessage(name=made.actor_name, args=made.args, kwargs=made.kwargs, options=options)


@dataclass(frozen=True, kw_only=True)
class DramatiqApplication(OwnApplication):
    """An application on a RedisBroker or a RabbitmqBroker whose messages `make` makes."""

    distribution = "dramatiq"
    classes = ("dramatiq.brokers.redis:RedisBroker", RABBITMQ_BROKER)
    takes = "the RedisBroker or RabbitmqBroker of a Dramatiq application"

    @property
    def needs(self) -> Sequence[str]:
        """The services that the servers of a run must have."""
        return ("rabbitmq", "redis") if is_on_rabbitmq(self.own) else ()

    def promises(self, settings: TargetSettings) -> Promises:
        """What Dramatiq promises, with the lease of the run as heartbeat time-out, or as heartbeat of RabbitMQ.

        RabbitMQ closes a connection after two heartbeats without an answer. A broker that does not ask it to confirm
        messages learns of none that it loses.
        """
        rabbitmq = is_on_rabbitmq(self.own)
        shipped = shipped_promises("dramatiq", "rabbitmq" if rabbitmq else "redis")
        confirmed = not rabbitmq or self.own.confirm_delivery
        survives = shipped.survives - (frozenset() if confirmed else _UNCONFIRMED)
        return replace(
            shipped,
            survives=survives | OUTSIDE,
            takes_over_after=_HEARTBEATS * settings.lease if rabbitmq else settings.lease + _POLL_SECONDS,
            recovers_within=dict.fromkeys(shipped.recovers_within, settings.lease + _START_SECONDS),
            queue=False,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> DramatiqSession:
        kind = RabbitmqSession if is_on_rabbitmq(self.own) else DramatiqSession
        return kind(self, endpoints, settings)


class DramatiqSession(OwnSession):
    """The workers of a Dramatiq application, and a copy of its broker that sends its messages."""

    def __init__(
        self, application: DramatiqApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        super().__init__(application, endpoints, settings)
        # Also the application's own broker, so that nothing reaches a server of the user.
        lead_to(application.own, endpoints.redis_url)
        self._broker = copy.copy(application.own)
        put_on(self._broker, queue=settings.queue, lease=settings.lease)
        self._ends = Ends.of(self._broker, url=endpoints.redis_url, queue=settings.queue)

    def command(self, pool: str) -> list[str]:
        del pool
        settings = self.settings
        milliseconds = str(int(settings.graceful_shutdown * 1000))
        return [
            # Dramatiq ends if one of its workers dies, and is started again as by systemd.
            *(sys.executable, "-m", "harness.kit.harness_worker.pool"),
            *(sys.executable, "-m", "dramatiq", "harness.targets.applications.dramatiq_worker:broker"),
            *("--processes", str(settings.workers), "--threads", str(settings.concurrency)),
            *("--worker-shutdown-timeout", milliseconds),
        ]

    def variables(self) -> dict[str, str]:
        return {"HARNESS_WORKERS": "1"}  # how many times the pool starts `dramatiq`

    def message(self, number: int) -> TaskMessage:
        make = self.application.make
        message = message_of(make, number, forms=_FORMS, name_of=name_of, own_form=own_form)
        if "redis_message_id" in message.options:
            raise TargetFailed(
                f"make({number}) sent its message itself. Return refund.message(...) in place of refund.send(...)."
            )
        if message.name not in self._broker.actors:
            known = ", ".join(sorted(self._broker.actors)) or "none"
            raise TargetFailed(
                f"make({number}) names the actor {message.name!r}, which the broker does not have. Known: {known}."
            )
        return message

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        options = {**message.options, LABEL: label.to_value()}
        delay, queue = options.pop("delay", None), options.pop("queue_name", None)
        if isinstance(delay, timedelta):
            delay = int(delay.total_seconds() * 1000)
        actor = self._broker.actors[message.name]
        made = actor.message_with_options(args=message.args, kwargs=dict(message.kwargs), **options)
        activity = self.activity(label.number)
        made = made.copy(message_id=activity, queue_name=queue or made.queue_name)
        self._broker.enqueue(made, delay=delay)
        return activity

    def statuses(self) -> Mapping[str, str]:
        """A message that waits, is delayed or is with a worker is in the hash of its queue until it is acknowledged."""
        queues = self._queues()
        space = self._broker.namespace
        with self._broker.client.pipeline(transaction=True) as together:
            together.hgetall(self._ends.key)
            for queue in queues:
                for suffix in ("", ".DQ", ".XQ"):
                    together.hgetall(f"{space}:{queue}{suffix}.msgs")
            noted, *messages = together.execute()
        ended = {activity.decode(): status.decode() for activity, status in noted.items()}
        dead = _ids(messages[2::3])
        held = _ids([*messages[0::3], *messages[1::3]])
        complete = {activity for activity, status in ended.items() if status == "complete"}
        found = {
            **ended,
            **dict.fromkeys(held, "queued"),
            **dict.fromkeys(dead, "error"),
            **dict.fromkeys(complete, "complete"),
        }
        return found

    def remove(self) -> None:
        redis = self._broker.client
        for key in redis.scan_iter(f"{self._broker.namespace}*", count=1000):
            redis.delete(key)
        redis.close()

    def _queues(self) -> Iterable[str]:
        return sorted(self._broker.get_declared_queues())


class RabbitmqSession(DramatiqSession):
    """The workers of a Dramatiq application on RabbitMQ, and its own broker, which sends its messages."""

    def __init__(
        self, application: DramatiqApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        self._url = rabbitmq_url(endpoints, settings)
        lead_to_rabbitmq(application.own, self._url, settings.lease)
        super().__init__(application, endpoints, settings)
        self._messages = RabbitmqMessages(self._broker)

    def variables(self) -> dict[str, str]:
        return {**super().variables(), service_variable("rabbitmq"): self._url}

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        try:
            return super().send(message, label)
        finally:
            self._messages.disconnect()

    def unfinished(self) -> int:
        """How many tasks have no end; what workers have is not seen."""
        try:
            ended = {activity for activity, status in self._ends.statuses().items() if status != "error"}
            return len(self.submitted.keys() - ended - self._messages.dead())
        except Exception as error:  # noqa: BLE001 - transports raise errors of their own
            raise TargetFailed(
                f"The messages cannot be read: {describe_error(error)}. See the logs of RabbitMQ and Redis."
            ) from None

    def statuses(self) -> Mapping[str, str]:
        ended = self._ends.statuses()
        complete = {activity: status for activity, status in ended.items() if status == "complete"}
        waiting, dead = self._messages.waiting(), self._messages.dead()
        return {**ended, **dict.fromkeys(waiting, "queued"), **dict.fromkeys(dead, "error"), **complete}

    def remove(self) -> None:
        self._ends.redis.delete(self._ends.key)
        self._messages.delete()


def _ids(queues: Iterable[Mapping[bytes, bytes]]) -> set[str]:
    decode = imported("dramatiq").Message.decode  # with the encoder of the application
    return {str(decode(message).message_id) for queue in queues for message in queue.values()}
