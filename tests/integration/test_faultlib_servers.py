"""Faults that end connections to real servers: termination of backends, restarts, lost replies."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.environments.base import Endpoints, Service
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import GateError
from harness.faults.backends import TerminateBackends
from harness.faults.base import Fault, FaultContext
from harness.faults.postgres_tail import LosePostgresTail
from harness.faults.redis_tail import LoseRedisTail
from harness.faults.restarting import RestartServer
from harness.load.gauges import Sampler
from harness.load.resources import Sampled
from harness.load.server_gauges import PostgresSampler, RedisSampler
from harness.scenario.schedule import plan_faults
from harness.wire import Wire

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedEnvironment]:
    """Servers of this module, because its faults end the connections of everything that uses them."""
    with EmbeddedEnvironment() as environment:
        yield environment


# No process has this id.
_GONE = 2**22 + 1


def carry_out(fault: Fault, environment: EmbeddedEnvironment, patience: float = 10.0) -> None:
    pool: Any = SimpleNamespace(worker_pids=lambda: [1], name="pool-1", pid=_GONE)
    pools: Any = SimpleNamespace(running=lambda: [pool])
    gates: Any = None
    context = FaultContext(gates=gates, pools=pools, environment=environment, patience=patience)
    [planned] = plan_faults([fault], seed=1, due=[0.0])
    aim = fault.aim(context, planned)
    fault.inject(context, planned, aim)
    fault.heal(context, planned, aim)


def test_every_connection_is_terminated_and_new_ones_are_accepted(own_servers: EmbeddedEnvironment) -> None:
    url = own_servers.endpoints.database_url
    with psycopg.connect(url) as idle, psycopg.connect(url) as busy:
        busy.execute("SELECT 1")
        carry_out(TerminateBackends(at=0.0), own_servers)
        for connection in (idle, busy):
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_termination_waits_for_clients_that_come_back(own_servers: EmbeddedEnvironment) -> None:
    with ExitStack() as later:

        def connect() -> None:
            later.enter_context(psycopg.connect(own_servers.endpoints.database_url))

        coming = threading.Timer(0.3, connect)
        coming.start()
        carry_out(TerminateBackends(at=0.0), own_servers)
        coming.join()


def test_termination_without_a_connection_is_no_fault(own_servers: EmbeddedEnvironment) -> None:
    with closing(PostgresSampler(own_servers.endpoints.database_url)) as gauges:  # that of the harness itself
        gauges.sample()
        with pytest.raises(GateError, match="no connection to end"):
            carry_out(TerminateBackends(at=0.0), own_servers, patience=0.0)
        assert gauges.sample().totals


def use(endpoints: Endpoints, number: int) -> None:
    """Commands to both servers, of sessions that end: Postgres counts what they did when they end."""
    with (
        psycopg.connect(endpoints.database_url, autocommit=True) as postgres,
        redis.Redis.from_url(endpoints.redis_url) as client,
    ):
        for _ in range(number):
            postgres.execute("SELECT 1")
            client.ping()


def sampler_of(service: Service, environment: EmbeddedEnvironment) -> tuple[Sampler, str]:
    """The gauges of a server, and the one that counts commands."""
    endpoints = environment.endpoints
    if service == "redis":
        return RedisSampler(endpoints.redis_url), "Redis commands"
    return PostgresSampler(endpoints.database_url), "Postgres commits"


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_a_restarted_server_keeps_its_data_and_loses_its_connections(
    own_servers: EmbeddedEnvironment, service: Service, crash: bool, eventually: Callable[..., object]
) -> None:
    """What a load used is right although the server counts anew."""

    def sample() -> float:
        sampled.add(sampler.sample(), at=0.0, second=None)
        return sampled.totals.get(name, 0.0)

    endpoints = own_servers.endpoints
    key = f"{service}_{crash}".lower()
    sampled, (sampler, name) = Sampled(), sampler_of(service, own_servers)
    sample()
    with (
        psycopg.connect(endpoints.database_url, autocommit=True) as postgres,
        redis.Redis.from_url(endpoints.redis_url) as client,
    ):
        postgres.execute(f"CREATE TABLE {key} ()")
        client.set(key, "kept")
        use(endpoints, 600)
        eventually(lambda: sample() >= 600, 30)
        fault = RestartServer(service=service, at=0.0, seconds=0.0, crash=crash)
        carry_out(fault, own_servers)
        if service == "postgres":
            with pytest.raises(psycopg.OperationalError):
                postgres.execute("SELECT 1")
    sampler.close()  # as after an answer that did not come
    before = sampled.totals[name]
    with (
        psycopg.connect(endpoints.database_url, autocommit=True) as postgres,
        redis.Redis.from_url(endpoints.redis_url) as client,
    ):
        assert postgres.execute(f"SELECT count(*) FROM {key}").fetchone() == (0,)
        assert client.get(key) == b"kept"
    use(endpoints, 150)
    eventually(lambda: sample() >= before + 150, 30)
    sampler.close()
    assert sampled.totals[name] < before + 600, "what was counted before the restart is not counted again"
    assert all(0 <= used < 100_000_000 for used in sampled.totals.values())


def test_redis_has_written_what_it_acknowledged_when_it_crashes(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `everysec`, an answer may be ahead of the file while a disk is busy, which no test can arrange."""
    setting: list[object] = []
    kill = own_servers.kill

    def noted_kill(service: Service) -> None:
        with redis.Redis.from_url(own_servers.endpoints.redis_url, decode_responses=True) as client:
            setting.append(client.config_get("appendfsync"))
        kill(service)

    monkeypatch.setattr(own_servers, "kill", noted_kill)
    carry_out(RestartServer(service="redis", at=0.0, seconds=0.0, crash=True), own_servers)
    with redis.Redis.from_url(own_servers.endpoints.redis_url, decode_responses=True) as client:
        setting.append(client.config_get("appendfsync"))
    assert setting == [{"appendfsync": "always"}, {"appendfsync": "everysec"}]


def test_a_frozen_redis_crashes_too(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.environments.redis_writes._TIMEOUT_SECONDS", 0.1)
    own_servers.pause("redis")
    carry_out(RestartServer(service="redis", at=0.0, seconds=0.0, crash=True), own_servers)
    with redis.Redis.from_url(own_servers.endpoints.redis_url) as client:
        assert client.ping()


def test_a_lost_reply_of_a_real_server_leaves_its_effect(own_servers: EmbeddedEnvironment) -> None:
    """The loss strikes a random reply, so the client increments until a reply is missing."""
    with contextlib.closing(Wire(own_servers.endpoints.redis_url)) as proxy:
        client = redis.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0))
        client.delete("counter")
        answered = _increment_until_a_loss(client, proxy)
        assert int(client.get("counter") or 0) == answered + 1


def _increment_until_a_loss(client: redis.Redis, proxy: Wire) -> int:
    losing = threading.Thread(target=proxy.lose_reply, kwargs={"skip": 3, "within": 30.0})
    losing.start()
    answered = 0
    try:
        while True:
            client.incr("counter")
            answered += 1
    except redis.ConnectionError:
        losing.join()
        return answered


def test_redis_starts_again_without_what_it_wrote_last(own_servers: EmbeddedEnvironment) -> None:
    with redis.Redis.from_url(own_servers.endpoints.redis_url) as client:
        client.set("early", 1)
        client.delete("late")
        acknowledged = 0

        def write() -> None:
            nonlocal acknowledged
            with contextlib.suppress(redis.ConnectionError):
                while True:
                    acknowledged = client.incr("late")

        writer = threading.Thread(target=write)
        writer.start()
        carry_out(LoseRedisTail(at=0.0, lag=0.3), own_servers)
        writer.join()
    with redis.Redis.from_url(own_servers.endpoints.redis_url) as client:
        assert client.get("early") == b"1"
        assert int(client.get("late") or 0) < acknowledged, "the end is gone, although it was acknowledged"


def test_a_rewriting_of_the_file_of_redis_hides_no_tail(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its beginning on, Redis appends to another file."""
    kill = own_servers.kill
    with redis.Redis.from_url(own_servers.endpoints.redis_url) as client:
        client.set("rewritten", 1)

        def write_and_kill(service: Service) -> None:
            client.bgrewriteaof()
            client.incr("rewritten")
            kill(service)

        monkeypatch.setattr(own_servers, "kill", write_and_kill)
        carry_out(LoseRedisTail(at=0.0, lag=0.1), own_servers)
    with redis.Redis.from_url(own_servers.endpoints.redis_url) as client:
        assert client.get("rewritten") == b"1"


@pytest.mark.parametrize(("lag", "setting"), [(1.0, "everysec"), (1.5, "no"), (3.0, "no")])
def test_the_length_of_a_tail_is_what_a_setting_allows(lag: float, setting: str) -> None:
    assert LoseRedisTail(at=0.0, lag=lag).appendfsync == setting


@pytest.mark.parametrize("waits", [True, False])
def test_postgres_starts_again_without_commits_that_did_not_wait(
    own_servers: EmbeddedEnvironment, waits: bool
) -> None:
    url = own_servers.endpoints.database_url
    with psycopg.connect(url, autocommit=True) as postgres:
        postgres.execute("DROP TABLE IF EXISTS late")
        postgres.execute("CREATE TABLE late (n int)")
        postgres.execute("ALTER SYSTEM SET wal_writer_delay = '150ms'")
        postgres.execute(f"SET synchronous_commit = {'on' if waits else 'off'}")
        acknowledged = 0

        def write() -> None:
            nonlocal acknowledged
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    postgres.execute("INSERT INTO late VALUES (1)")
                    acknowledged += 1

        writer = threading.Thread(target=write)
        writer.start()
        carry_out(LosePostgresTail(at=0.0, lag=0.4), own_servers)
        writer.join()
    with psycopg.connect(url) as postgres:
        [found] = postgres.execute("SELECT count(*) FROM late").fetchone() or [0]
        assert (found >= acknowledged) is waits
        assert postgres.execute("SHOW wal_writer_delay").fetchone() == ("150ms",), (
            "as it was before the fault"
        )


def test_a_tail_of_redis_that_is_empty_is_no_fault(own_servers: EmbeddedEnvironment) -> None:
    with pytest.raises(GateError, match="wrote nothing"):
        carry_out(LoseRedisTail(at=0.0, lag=0.2), own_servers)
    own_servers.restart("redis")
