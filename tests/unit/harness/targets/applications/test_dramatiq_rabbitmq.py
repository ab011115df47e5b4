"""An application of Dramatiq on RabbitMQ: where its broker leads, what it promises, and which messages it has."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.environments.base import Endpoints
from harness.errors import TargetFailed
from harness.history.promises import Loss
from harness.targets.application_reference import environment_on
from harness.targets.applications.dramatiq import DramatiqApplication
from harness.targets.applications.dramatiq_rabbitmq import RabbitmqMessages, lead_to_rabbitmq
from harness.targets.base import TargetSettings
from harness.testing import app

HERE = Path()
SETTINGS = TargetSettings(queue="q", folder=HERE, history=HERE, gate_address="", lease=4.0, disposable=True)
RUN = Endpoints(
    database_url="postgresql://127.0.0.1:1/x",
    redis_url="redis://127.0.0.1:1/0",
    others={"rabbitmq": "amqp://run@127.0.0.1:1/%2F"},
)


def broker(**values: Any) -> Any:
    kind = type("RabbitmqBroker", (SimpleNamespace,), {"__module__": "dramatiq.brokers.rabbitmq"})
    return kind(**{"confirm_delivery": True, "queues": {"refunds"}, "queues_pending": set(), **values})


def test_it_needs_a_rabbitmq_and_a_redis() -> None:
    assert tuple(app(broker(), make=lambda number: None).needs) == ("rabbitmq", "redis")


def test_it_promises_what_the_acknowledgements_of_rabbitmq_allow() -> None:
    application = DramatiqApplication(own=broker(), make=lambda number: None, reference=str)
    made = application.promises(SETTINGS)
    assert made.takes_over_after == 12.0
    assert made.survives >= {Loss.WORKER_KILLED, Loss.POOL_KILLED, Loss.BROKER_RESTARTED, Loss.REPLY_LOST}
    unsure = replace(application, own=broker(confirm_delivery=False)).promises(SETTINGS)
    assert made.survives - unsure.survives == {Loss.BROKER_RESTARTED, Loss.BROKER_FROZEN, Loss.REPLY_LOST}


@pytest.mark.parametrize(
    ("endpoints", "settings"),
    [(replace(RUN, others={}), SETTINGS), (RUN, replace(SETTINGS, disposable=False))],
)
def test_a_rabbitmq_of_others_is_refused_in_one_sentence(
    endpoints: Endpoints, settings: TargetSettings
) -> None:
    with pytest.raises(
        TargetFailed, match=r"has no prefix for its queues on RabbitMQ, .* Use embedded servers\."
    ):
        DramatiqApplication(own=broker(), make=lambda number: None, reference=str).open(endpoints, settings)


def test_a_broker_leads_to_the_run_and_declares_its_queues_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "pika", SimpleNamespace(URLParameters=lambda url: SimpleNamespace(url=url))
    )
    own = broker(parameters="theirs", connections={1}, channels={2}, state=None)
    lead_to_rabbitmq(own, "amqp://run", 4.0)
    assert (own.parameters.url, own.parameters.heartbeat) == ("amqp://run", 4)
    assert (own.queues_pending, own.connections, own.channels) == ({"refunds"}, set(), set())


def test_variables_of_the_application_lead_to_the_rabbitmq_of_a_run_that_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKER_URL", "amqp://theirs.example/shop")
    assert environment_on(RUN)["BROKER_URL"] == RUN.others["rabbitmq"]
    assert environment_on(replace(RUN, others={}))["BROKER_URL"] == "amqp://theirs.example/shop"


@dataclass
class Server:
    """The queues of a RabbitMQ; a message that is taken comes back when the connection ends."""

    queues: dict[str, list[str]]
    taken: int = 0
    looks: list[str] = field(default_factory=list)

    def basic_get(self, queue: str) -> tuple[None, None, bytes | None]:
        self.looks.append(queue)
        waiting = self.queues[queue][self.taken :]
        self.taken += 1
        return None, None, json.dumps({"message_id": waiting[0]}).encode() if waiting else None

    def queue_delete(self, queue: str) -> None:
        del self.queues[queue]


class Broker:
    """What is used of a broker."""

    def __init__(self, server: Server) -> None:
        self.queues = {"refunds"}
        self.channel = server

    def declare_queue(self, queue: str, *, ensure: bool) -> None:
        assert ensure

    def get_queue_message_counts(self, queue: str) -> tuple[int, int, int]:
        first, second, third = (len(self.channel.queues[queue + part]) for part in ("", ".DQ", ".XQ"))
        return first, second, third

    def __delattr__(self, name: str) -> None:
        assert name == "connection"
        self.channel.taken = 0


def test_dead_letters_are_read_when_there_are_more_and_the_others_at_the_end() -> None:
    server = Server({"refunds": ["a", "b"], "refunds.DQ": ["c"], "refunds.XQ": []})
    messages = RabbitmqMessages(Broker(server))
    assert messages.dead() == set()
    assert not server.looks
    server.queues["refunds.XQ"] = ["d", "e"]
    assert messages.dead() == messages.dead() == {"d", "e"}
    assert server.looks == ["refunds.XQ"] * 3
    assert messages.waiting() == {"a", "b", "c"}
    messages.delete()
    assert server.queues == {}
