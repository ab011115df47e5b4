"""One contract, every backend: what a scenario may rely on whatever the servers run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.environments import make_environment
from harness.environments.backend import ServersEnvironment
from harness.environments.base import (
    SERVICES,
    Endpoints,
    Environment,
    Killable,
    Pausable,
    Restartable,
    Service,
)
from harness.environments.redis_writes import write_acknowledged
from harness.errors import EnvironmentUnavailable
from tests.integration.environments.conftest import Traces, segments_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CONTAINERS = pytest.param("containers", marks=pytest.mark.containers)
DEADLINE = 2


def redis_client(endpoints: Endpoints) -> redis.Redis:
    return redis.Redis.from_url(
        endpoints.redis_url, socket_timeout=DEADLINE, retry=Retry(NoBackoff(), 0), decode_responses=True
    )


def write(endpoints: Endpoints, service: Service, word: str) -> None:
    if service == "redis":
        with redis_client(endpoints) as client:
            client.set("word", word)
        # A Redis whose disk is busy answers before it writes, and a SIGKILL loses what it had not written.
        write_acknowledged(endpoints.redis_url)
        return
    with psycopg.connect(endpoints.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("TRUNCATE words")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def read(endpoints: Endpoints, service: Service) -> str:
    """The word; raises within about two seconds where the server does not answer."""
    if service == "redis":
        with redis_client(endpoints) as client:
            return str(client.get("word"))
    with psycopg.connect(endpoints.database_url, connect_timeout=DEADLINE) as connection:
        row = connection.execute("SELECT word FROM words").fetchone()
        assert row is not None
        return str(row[0])


def password_of(url: str) -> str:
    password = urlsplit(url).password
    assert password
    return password


NO_ANSWER = (psycopg.OperationalError, redis.RedisError)


@pytest.fixture(scope="module", params=["embedded", CONTAINERS])
def environment(request: pytest.FixtureRequest) -> Iterator[ServersEnvironment]:
    if request.param == "containers":
        request.getfixturevalue("docker_engine")
    made = make_environment(request.param)
    assert isinstance(made, ServersEnvironment)
    with made:
        yield made


@pytest.mark.parametrize("service", SERVICES)
def test_a_started_server_keeps_what_is_written(environment: ServersEnvironment, service: Service) -> None:
    write(environment.endpoints, service, "kept")
    assert read(environment.endpoints, service) == "kept"


def test_the_servers_report_their_versions(environment: ServersEnvironment) -> None:
    assert environment.versions.postgres.startswith("PostgreSQL ")
    assert environment.versions.redis.split()[0] in ("Redis", "Valkey")


def test_the_servers_listen_on_the_loopback_address_and_want_a_password(
    environment: ServersEnvironment,
) -> None:
    for url in (environment.endpoints.database_url, environment.endpoints.redis_url):
        assert "@127.0.0.1:" in url
    database_url, redis_url = environment.endpoints.database_url, environment.endpoints.redis_url
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(database_url.replace(password_of(database_url), "wrong"))
    with redis.Redis.from_url(redis_url.replace(f":{password_of(redis_url)}@", "")) as client:
        with pytest.raises(redis.AuthenticationError):
            client.ping()


def test_the_database_is_utf8_and_durable_and_redis_never_evicts(environment: ServersEnvironment) -> None:
    with psycopg.connect(environment.endpoints.database_url) as connection:
        settings = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("server_encoding", "fsync", "synchronous_commit")
        ]
    assert settings == [("UTF8",), ("on",), ("on",)]
    with redis_client(environment.endpoints) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_server_is_gone_and_comes_back_with_its_data(
    environment: ServersEnvironment, service: Service
) -> None:
    before = environment.endpoints
    write(before, service, "before the kill")
    environment.kill(service)
    with pytest.raises(NO_ANSWER):
        read(before, service)
    environment.restart(service)
    assert environment.endpoints == before
    assert read(before, service) == "before the kill"


@pytest.mark.parametrize("service", SERVICES)
def test_a_server_can_be_killed_twice_and_while_it_is_frozen(
    environment: ServersEnvironment, service: Service
) -> None:
    write(environment.endpoints, service, "frozen")
    environment.pause(service)
    environment.kill(service)
    environment.kill(service)
    environment.restart(service)
    assert read(environment.endpoints, service) == "frozen"


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("service", SERVICES)
def test_a_server_that_was_shut_down_in_order_comes_back_with_its_data(
    environment: ServersEnvironment, service: Service, frozen: bool
) -> None:
    write(environment.endpoints, service, f"before, {frozen}")
    if frozen:
        environment.pause(service)
    environment.shut_down(service)
    with pytest.raises(NO_ANSWER):
        read(environment.endpoints, service)
    environment.shut_down(service)
    environment.restart(service)
    assert read(environment.endpoints, service) == f"before, {frozen}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_running_server_can_be_restarted(environment: ServersEnvironment, service: Service) -> None:
    write(environment.endpoints, service, "through a restart")
    environment.restart(service)
    assert read(environment.endpoints, service) == "through a restart"


@pytest.mark.parametrize("service", SERVICES)
def test_a_frozen_server_can_be_restarted(environment: ServersEnvironment, service: Service) -> None:
    write(environment.endpoints, service, "frozen, then restarted")
    environment.pause(service)
    environment.restart(service)
    assert read(environment.endpoints, service) == "frozen, then restarted"


@pytest.mark.parametrize("service", SERVICES)
def test_a_frozen_server_does_not_answer_until_it_goes_on(
    environment: ServersEnvironment, service: Service
) -> None:
    write(environment.endpoints, service, "after the freeze")
    environment.pause(service)
    try:
        with pytest.raises(NO_ANSWER):
            read(environment.endpoints, service)
    finally:
        environment.resume(service)
    assert read(environment.endpoints, service) == "after the freeze"


def test_an_open_connection_outlives_a_freeze(environment: ServersEnvironment) -> None:
    with psycopg.connect(environment.endpoints.database_url) as connection:
        environment.pause("postgres")
        environment.resume("postgres")
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("service", SERVICES)
def test_each_server_has_a_log(environment: ServersEnvironment, service: Service) -> None:
    assert environment.logs(service).strip()


def test_no_password_is_in_a_log(environment: ServersEnvironment) -> None:
    logs = environment.logs("postgres") + environment.logs("redis")
    for url in (environment.endpoints.database_url, environment.endpoints.redis_url):
        assert password_of(url) not in logs


def test_it_is_an_environment_that_can_be_killed_and_frozen(environment: ServersEnvironment) -> None:
    assert isinstance(environment, Environment)
    assert isinstance(environment, Killable)
    assert isinstance(environment, Restartable)
    assert isinstance(environment, Pausable)


@pytest.mark.parametrize("backend", ["embedded", CONTAINERS])
def test_a_stopped_environment_leaves_nothing_and_can_start_again(
    backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == "containers":
        request.getfixturevalue("docker_engine")
    environment = make_environment(backend)
    assert isinstance(environment, ServersEnvironment)
    environment.stop()
    folders: list[Path] = []
    for _ in range(2):
        environment.start()
        traces = Traces(
            session=environment.session.id,
            folder=environment.folder,
            segments=segments_of(environment.folder),
        )
        assert traces.left()
        folders.append(environment.folder)
        environment.stop()
        assert traces.left() == {}
        environment.stop()
    assert folders[0] != folders[1]


@pytest.mark.parametrize("backend", ["embedded", "containers"])
def test_an_environment_that_is_not_started_raises(backend: str) -> None:
    environment = make_environment(backend)
    assert isinstance(environment, Killable)
    for ask in (lambda: environment.endpoints, lambda: environment.versions, lambda: environment.folder):
        with pytest.raises(EnvironmentUnavailable, match="not started"):
            ask()
    with pytest.raises(EnvironmentUnavailable, match="not started"):
        environment.kill("redis")
    assert environment.logs("redis") == ""
