"""RabbitMQ of the machine as a service: its own ports and data, faults, and nothing left."""

from __future__ import annotations

from urllib.parse import urlsplit

import psutil
import pytest

from harness.environments import local_rabbitmq, make_environment
from harness.environments.backend import ServersEnvironment
from harness.environments.reaper import VARIABLE
from harness.errors import EnvironmentUnavailable
from tests.support.servers import require_package

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def test_rabbitmq_runs_beside_the_others_is_killed_restarted_and_frozen_and_leaves_nothing() -> None:
    require_package("rabbitmq-server", installed=local_rabbitmq.PROGRAM.exists())
    environment = make_environment("embedded", needs=["rabbitmq"])
    assert isinstance(environment, ServersEnvironment)
    with environment:
        address = urlsplit(environment.endpoints.url("rabbitmq"))
        assert address.password
        assert (address.scheme, address.username, address.hostname) == ("amqp", "harness", "127.0.0.1")
        assert environment.versions.others["rabbitmq"].startswith("RabbitMQ ")
        environment.kill("rabbitmq")
        environment.restart("rabbitmq")
        environment.pause("rabbitmq")
        environment.resume("rabbitmq")
        session = environment.session.id
        assert str(address.password) not in environment.logs("rabbitmq")
    assert [process.pid for process in psutil.process_iter() if _is_of(process, session)] == []


def _is_of(process: psutil.Process, session: str) -> bool:
    try:
        return process.environ().get(VARIABLE) == session
    except psutil.Error:
        return False


def test_a_machine_without_rabbitmq_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_rabbitmq, "PROGRAM", local_rabbitmq.PROGRAM / "missing")
    with pytest.raises(EnvironmentUnavailable, match="apt-get install rabbitmq-server"):
        make_environment("embedded", needs=["rabbitmq"]).start()
