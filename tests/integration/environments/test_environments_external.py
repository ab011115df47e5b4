"""The external backend queries the servers, reports an error in one sentence, and does not change the servers."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from harness.environments import make_environment, ports
from harness.environments.base import Environment, Killable, Pausable
from harness.errors import EnvironmentUnavailable
from tests.integration.environments.conftest import Traces

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def staging() -> Iterator[Environment]:
    with make_environment("embedded") as environment:
        yield environment


def external(staging: Environment, **urls: str) -> Environment:
    given = {
        "database_url": staging.endpoints.database_url,
        "redis_url": staging.endpoints.redis_url,
        **urls,
    }
    return make_environment("external", **given)  # type: ignore[arg-type]


def test_servers_that_answer_are_used_and_left_running(staging: Environment) -> None:
    environment = external(staging)
    with environment:
        assert environment.endpoints == staging.endpoints
        assert environment.versions == staging.versions
        folder = environment.folder
        assert folder.is_dir()
        assert environment.logs("postgres") == ""
    assert not folder.exists()
    with psycopg.connect(staging.endpoints.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_it_cannot_kill_or_freeze(staging: Environment) -> None:
    with external(staging) as environment:
        assert isinstance(environment, Environment)
        assert not isinstance(environment, Killable)
        assert not isinstance(environment, Pausable)


def test_the_url_of_sqlalchemy_is_understood(staging: Environment) -> None:
    url = staging.endpoints.database_url.replace("postgresql://", "postgresql+psycopg://")
    with external(staging, database_url=url) as environment:
        assert environment.endpoints.database_url == url


def test_a_server_that_does_not_answer_is_named_without_its_password(staging: Environment) -> None:
    port = ports.free_port()
    for option, url in (
        ("database_url", f"postgresql://me:secret@127.0.0.1:{port}/app"),
        ("redis_url", f"redis://:secret@127.0.0.1:{port}/0"),
    ):
        environment = external(staging, **{option: url})
        with pytest.raises(EnvironmentUnavailable) as raised:
            environment.start()
        message = str(raised.value)
        assert f"***@127.0.0.1:{port}" in message
        assert "does not answer" in message
        assert "secret" not in message
        assert len(message.splitlines()) == 1


def test_a_wrong_password_is_named_without_the_password(staging: Environment) -> None:
    right = staging.endpoints.database_url
    password = right.split("@")[0].split(":")[-1]
    with pytest.raises(EnvironmentUnavailable, match="password authentication failed") as raised:
        external(staging, database_url=right.replace(password, "sesame")).start()
    assert "sesame" not in str(raised.value)


def test_stopping_removes_the_session_only(staging: Environment) -> None:
    environment = external(staging)
    environment.start()
    session = environment.session  # type: ignore[attr-defined]
    traces = Traces(session=session.id, folder=environment.folder)
    environment.stop()
    assert traces.left() == {}
