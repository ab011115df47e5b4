"""Services by name: one of another package is started, killed, frozen and removed like Postgres and Redis."""

from __future__ import annotations

from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.environments import make_environment, services
from harness.environments.backend import ServersEnvironment
from harness.environments.base import Endpoints
from harness.errors import UsageError
from tests.support.echo_service import echo

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that has the service `echo`, and one whose service cannot be imported."""
    points = [
        EntryPoint(name="echo", value="tests.support.echo_service:EchoServer", group=services.GROUP),
        EntryPoint(name="gone", value="tests.support.no_such_module:Server", group=services.GROUP),
    ]
    monkeypatch.setattr(services, "entry_points", lambda group: points if group == services.GROUP else [])


def test_a_service_that_is_needed_runs_beside_the_others_and_leaves_nothing(tmp_path: Path) -> None:
    environment = make_environment("embedded", needs=["redis", "echo"])
    assert isinstance(environment, ServersEnvironment)
    with environment:
        url = environment.endpoints.services["echo"]
        assert set(environment.endpoints.services) == {"postgres", "redis", "echo"}
        assert environment.versions.others == {"echo": "Echo 1.0"}
        assert echo(url, "hello") == "hello"
        environment.kill("echo")
        with pytest.raises(OSError, match="refused"):
            echo(url, "hello")
        environment.restart("echo")
        assert echo(url, "again") == "again"
        environment.pause("echo")
        with pytest.raises(OSError, match="timed out"):
            echo(url, "frozen")
        environment.resume("echo")
        assert echo(url, "thawed") == "thawed"
    with pytest.raises(OSError, match="refused"):
        echo(url, "hello")


def test_a_service_that_nothing_provides_is_refused_before_anything_starts() -> None:
    with pytest.raises(
        UsageError, match=r"no service 'ecko'\. Did you mean echo\? Known: postgres, redis, rabbitmq, echo"
    ):
        make_environment("embedded", needs=["ecko"])


def test_a_service_whose_package_is_broken_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"The service gone \(tests.support.no_such_module:Server\) cannot be loaded"
    ):
        make_environment("embedded", needs=["gone"]).start()


def test_a_service_that_was_not_requested_cannot_be_killed(servers: ServersEnvironment) -> None:
    with pytest.raises(UsageError, match=r"has no service 'echo'; it has redis, postgres"):
        servers.kill("echo")


def test_an_external_service_has_its_url_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    external = partial(make_environment, "external", database_url="postgresql://h/d", redis_url="redis://h")
    monkeypatch.delenv("HARNESS_ECHO_URL", raising=False)
    with pytest.raises(UsageError, match=r"The target needs echo, and HARNESS_ECHO_URL is not set\."):
        external(needs=["echo"])
    monkeypatch.setenv("HARNESS_ECHO_URL", "echo://h")
    external(needs=["echo", "redis"])


def test_endpoints_have_the_services_by_name() -> None:
    endpoints = Endpoints(database_url="postgresql://h", redis_url="", others={"echo": "echo://h"})
    assert endpoints.services == {"postgres": "postgresql://h", "echo": "echo://h"}
    assert (endpoints.url("echo"), endpoints.url("redis"), endpoints.url("kafka")) == ("echo://h", "", "")
