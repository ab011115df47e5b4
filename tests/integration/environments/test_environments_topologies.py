"""Services of several real servers: who is the primary after a failover, what is lost, and who comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import psycopg
import pytest

from harness.doctor import durability_checks, postgres_checks
from harness.doctor.check import CheckFinding, DoctorCheck, Grade, failed, passed
from harness.doctor.installation import DoctorOptions, Installation
from harness.environments.base import Topology
from harness.environments.redis_connection import RedisConnection, RedisFailure
from harness.environments.session import Session
from harness.environments.topologies import make_topology, pgbouncer
from harness.environments.topologies.environment import TopologyEnvironment
from harness.environments.topologies.local_members import LocalRedisServers
from harness.environments.topologies.redis_sentinel import RedisBehindSentinels
from harness.errors import UsageError
from tests.support.servers import require_package

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LAG_SECONDS = 0.3


def in_topology(topology: Topology, backend: str = "embedded") -> TopologyEnvironment:
    made = make_topology(topology, backend=backend)
    assert isinstance(made, TopologyEnvironment)
    return made


def redis_at(url: str) -> RedisConnection:
    return RedisConnection(url, timeout=2.0)


@contextmanager
def redis_group() -> Iterator[RedisBehindSentinels]:
    """The servers without a Postgres beside them."""
    with ExitStack() as stack:
        session = Session.open()
        group = RedisBehindSentinels(LocalRedisServers(session))
        stack.callback(group.forget)
        stack.callback(session.close)
        group.begin()
        group.finish()
        yield group


@contextmanager
def acknowledged(write: Callable[[], object]) -> Iterator[list[int]]:
    """Writes again and again until the server is lost; the list has one entry for each write that it acknowledged."""
    done: list[int] = []

    def run() -> None:
        with suppress(RedisFailure, psycopg.Error):
            while True:
                write()
                done.append(len(done) + 1)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield done
    thread.join()


def port_of(redis: RedisConnection) -> str:
    return redis.info("server")["tcp_port"]


def test_sentinels_replace_a_lost_primary_which_comes_back_as_a_replica() -> None:
    with redis_group() as group:
        assert group.version.endswith("with 2 replicas and 3 Sentinels")
        with pytest.raises(UsageError, match="do not lag"):
            group.fail_over(lag=1.0, frozen=True)
        with redis_at(group.url) as old:
            frozen = port_of(old)
            old.call("SET", "early", 1)
            group.fail_over(frozen=True)
            group.rejoin()
            with pytest.raises(RedisFailure, match=r"READONLY|closed"):
                old.call("SET", "late", 1)
        with redis_at(group.url) as second:
            later = port_of(second)
            assert (later != frozen, second.call("GET", "early")) == (True, b"1")
            assert second.info("replication")["connected_slaves"] == "2"
            with acknowledged(lambda: second.call("INCR", "counted")) as done:
                group.fail_over(lag=LAG_SECONDS)
        with redis_at(group.url) as third:
            assert port_of(third) != later
            assert int(str(third.call("INCRBY", "counted", 0))) < len(done), "what no replica has is lost"


@pytest.mark.containers
@pytest.mark.usefixtures("docker_engine")
def test_sentinels_in_containers_name_addresses_that_clients_of_this_machine_reach() -> None:
    with in_topology(Topology.REDIS_SENTINEL, "containers") as environment:
        with redis_at(environment.endpoints.redis_url) as first:
            old = port_of(first)
            first.call("SET", "early", 1)
        environment.fail_over("redis")
        with redis_at(environment.endpoints.redis_url) as second:
            assert (port_of(second) != old, second.call("GET", "early")) == (True, b"1")
            environment.rejoin("redis")
            assert second.info("replication")["connected_slaves"] == "2"


def numbers(environment: TopologyEnvironment) -> list[int]:
    with psycopg.connect(environment.endpoints.database_url) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM kept ORDER BY number")]


def url_of(environment: TopologyEnvironment, session: str) -> str:
    """The URL of both servers, for sessions of this kind."""
    url = environment.endpoints.database_url
    assert "target_session_attrs=read-write" in url
    return url.replace("=read-write", f"={session}")


def doctor_of(
    environment: TopologyEnvironment, session: str, check: DoctorCheck = postgres_checks.primary
) -> CheckFinding:
    """What the doctor says of the server that a URL of both servers leads to."""
    with Installation(DoctorOptions(database_url=url_of(environment, session))) as site:
        return check.probe(site)


def doctor_of_paused_standby(environment: TopologyEnvironment) -> CheckFinding:
    """What the doctor says while the standby does not apply a MiB of the log."""
    with (
        psycopg.connect(url_of(environment, "standby"), autocommit=True) as standby,
        psycopg.connect(environment.endpoints.database_url) as primary,
    ):
        standby.execute("SELECT pg_wal_replay_pause()")
        primary.execute("SELECT pg_logical_emit_message(true, 'doctor', repeat('x', 1048576))")
        primary.commit()
        found = doctor_of(environment, "read-write", durability_checks.standbys)
        standby.execute("SELECT pg_wal_replay_resume()")
    return found


def add(environment: TopologyEnvironment, number: int) -> None:
    with psycopg.connect(environment.endpoints.database_url) as connection:
        connection.execute("INSERT INTO kept VALUES (%s)", [number])


def test_a_synchronous_standby_has_every_commit_and_an_asynchronous_one_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with in_topology(Topology.POSTGRES_STANDBY) as environment:
        with psycopg.connect(environment.endpoints.database_url) as connection:
            connection.execute("CREATE TABLE kept (number int)")
        add(environment, 1)
        assert doctor_of(environment, "read-write") == passed("a primary")
        assert doctor_of(environment, "standby") == failed("a standby")
        assert doctor_of(environment, "read-write", durability_checks.standbys).grade is Grade.PASS
        monkeypatch.setattr(durability_checks, "FAR_BYTES", 2**19)
        assert doctor_of_paused_standby(environment).grade is Grade.WARN
        with closing(psycopg.connect(environment.endpoints.database_url)) as old:
            environment.fail_over("postgres")
            with pytest.raises(psycopg.OperationalError):
                old.execute("SELECT 1")
        assert numbers(environment) == [1]
        add(environment, 2)
        environment.rejoin("postgres")
        with closing(psycopg.connect(environment.endpoints.database_url, autocommit=True)) as other:
            with acknowledged(lambda: other.execute("INSERT INTO kept VALUES (3)")) as done:
                environment.fail_over("postgres", lag=LAG_SECONDS)
        kept = numbers(environment)
        assert kept[:2] == [1, 2], "the server that came back has what happened without it"
        assert len(kept) - 2 < len(done), "what an asynchronous standby had not received is lost"
        with pytest.raises(UsageError, match="frozen primary of Postgres"):
            environment.fail_over("postgres", frozen=True)


@pytest.mark.containers
@pytest.mark.usefixtures("docker_engine")
def test_a_container_that_was_the_primary_comes_back_as_a_copy_of_the_promoted_one() -> None:
    with in_topology(Topology.POSTGRES_STANDBY, "containers") as environment:
        environment.fail_over("postgres")
        with psycopg.connect(environment.endpoints.database_url) as connection:
            connection.execute("CREATE TABLE kept (number int)")
        add(environment, 1)
        environment.rejoin("postgres")
        environment.fail_over("postgres")
        assert numbers(environment) == [1], "the server that came back has what happened without it"


def test_pgbouncer_is_restarted_before_a_postgres_that_stays() -> None:
    require_package("pgbouncer", installed=pgbouncer.program() is not None)
    with in_topology(Topology.PGBOUNCER) as environment:
        url = environment.endpoints.database_url
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            environment.kill("pgbouncer")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(url)
        environment.restart("pgbouncer")
        psycopg.connect(url).close()
        assert " behind PgBouncer " in environment.versions.postgres
        with pytest.raises(UsageError, match="postgres has no replica in the topology pgbouncer"):
            environment.fail_over("postgres")
