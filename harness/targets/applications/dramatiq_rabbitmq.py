"""Dramatiq on RabbitMQ: the broker of an application on the RabbitMQ of a run, and the messages that it has there.

RabbitMQ has no prefix for queues, so it has to be that of the run alone. What has the ends of tasks is in the Redis of
the run, as with the other broker.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from harness.environments.base import Endpoints
from harness.environments.urls import plain_url
from harness.errors import TargetFailed
from harness.targets.applications.base import class_of, imported
from harness.targets.base import TargetSettings

RABBITMQ_BROKER = "dramatiq.brokers.rabbitmq:RabbitmqBroker"


def is_on_rabbitmq(broker: Any) -> bool:
    """Whether a broker of Dramatiq uses RabbitMQ."""
    return class_of(broker, RABBITMQ_BROKER) is not None


def rabbitmq_url(endpoints: Endpoints, settings: TargetSettings) -> str:
    """The URL of the RabbitMQ of the run; raises `TargetFailed` if the run has none of its own."""
    url = endpoints.url("rabbitmq")
    if not url or not settings.disposable:
        raise TargetFailed(
            "Dramatiq has no prefix for its queues on RabbitMQ, so the run needs a RabbitMQ of its own. "
            "Use embedded servers."
        )
    return plain_url(url)


def lead_to_rabbitmq(broker: Any, url: str, lease: float) -> None:
    """Let a broker lead to a RabbitMQ, which has none of its queues yet; the lease of the run is the heartbeat."""
    parameters = imported("pika").URLParameters(url)
    parameters.heartbeat = max(1, int(lease))
    broker.parameters = parameters
    broker.queues_pending = set(broker.queues)
    broker.connections, broker.channels, broker.state = set(), set(), threading.local()


class RabbitmqMessages:
    """The messages of a broker: a queue with those that wait, `.DQ` for delayed ones, `.XQ` for dead letters.

    RabbitMQ gives back what a worker had once its connection is closed.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._dead: set[str] = set()
        self._counted: dict[str, int] = {}

    def dead(self) -> set[str]:
        """The ids of the dead letters, which are read if there are more than before."""
        for queue in self._queues():
            number = self._broker.get_queue_message_counts(queue)[2]
            if number != self._counted.get(queue, 0):
                self._counted[queue] = number
                self._dead |= self._taken(f"{queue}.XQ")
        self.disconnect()
        return self._dead

    def waiting(self) -> set[str]:
        """The ids of the messages that wait or are delayed."""
        return {
            activity
            for name in self._queues()
            for part in ("", ".DQ")
            for activity in self._taken(name + part)
        }

    def delete(self) -> None:
        """Delete the queues."""
        for queue in self._queues():
            for part in ("", ".DQ", ".XQ"):
                self._broker.channel.queue_delete(queue + part)
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection of this thread, which answers no heartbeat between two calls."""
        del self._broker.connection

    def _queues(self) -> list[str]:
        queues = sorted(self._broker.queues)
        for queue in queues:
            self._broker.declare_queue(queue, ensure=True)
        return queues

    def _taken(self, queue: str) -> set[str]:
        """The ids of all messages of a queue, which get them back when the connection is closed."""
        self.disconnect()
        channel, found = self._broker.channel, set()
        while (body := channel.basic_get(queue)[2]) is not None:
            found.add(str(json.loads(body)["message_id"]))
        self.disconnect()
        return found
