"""Full disks of real servers: what their clients see, that it ends, that it has to hit somebody, and a broken heal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import redis
from psycopg import errors

from harness.environments import local_disks
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import GateError, HarnessError, UsageError
from harness.faults import full_disk, postgres_states
from harness.faults.base import FaultContext, PlannedFault
from harness.faults.full_disk import FillDisk
from harness.faults.held_state import repeated
from harness.processes import is_alive

pytestmark = pytest.mark.integration

Rows = psycopg.Connection[tuple[Any, ...]]
WHERE = "SELECT count(*) FROM pg_class WHERE reltablespace <> 0 AND relnamespace = 'public'::regnamespace"


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedEnvironment]:
    """Servers of this module, because its faults strike everything that uses them."""
    with EmbeddedEnvironment() as environment:
        with psycopg.connect(environment.endpoints.database_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE pages (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text)")
        yield environment


def carry_out(servers: object, service: str, seconds: float = 0.2) -> None:
    pools: Any = SimpleNamespace(running=lambda: [SimpleNamespace(name="pool-1", worker_pids=lambda: [1])])
    given: Any = {"gates": None, "pools": pools, "environment": servers}
    context, fault = FaultContext(**given), FillDisk(service=service, at=0.5, seconds=seconds)
    planned = PlannedFault(number=1, fault=fault, gate="", moment=0.0, draw=0.0)
    aim = fault.aim(context, planned)
    fault.inject(context, planned, aim)
    fault.heal(context, planned, aim)


def noting(error: type[Exception], action: Callable[[], object]) -> tuple[list[str], Callable[[], object]]:
    """The action that does not raise this error, and the list of what it would have raised."""
    raised: list[str] = []

    def run() -> None:
        try:
            action()
        except error as found:
            raised.append(str(found))

    return raised, run


def write(connection: Rows) -> None:
    for _ in range(20):
        connection.execute("INSERT INTO pages (t) VALUES (repeat('t', 1000))")


def test_postgres_cannot_extend_a_file_and_goes_on_afterwards(own_servers: EmbeddedEnvironment) -> None:
    with psycopg.connect(own_servers.endpoints.database_url, autocommit=True) as connection:
        for _ in range(2):
            raised, writing = noting(errors.DiskFull, lambda: write(connection))
            with repeated(writing):
                carry_out(own_servers, "postgres")
            assert "could not extend file" in raised[0]
            write(connection)
        assert connection.execute(WHERE).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pg_tablespace").fetchone() == (2,)
        assert "PANIC" not in own_servers.logs("postgres")


def test_redis_refuses_writes_and_keeps_what_it_took(own_servers: EmbeddedEnvironment) -> None:
    with closing(redis.Redis.from_url(own_servers.endpoints.redis_url)) as client:
        client.set("kept", 1)
        raised, writing = noting(redis.ResponseError, lambda: client.incr("counted"))
        with repeated(writing):
            carry_out(own_servers, "redis", seconds=1.5)
        assert "MISCONF" in raised[0]
        counted = client.incr("counted")
    own_servers.restart("redis")
    with closing(redis.Redis.from_url(own_servers.endpoints.redis_url)) as client:
        assert (client.get("kept"), client.get("counted")) == (b"1", str(counted).encode())


@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_a_full_disk_that_hits_no_client_is_no_fault(own_servers: EmbeddedEnvironment, service: str) -> None:
    with closing(redis.Redis.from_url(own_servers.endpoints.redis_url)) as client:
        client.set("there is", "a file")
    with pytest.raises(GateError, match="had nothing to strike"):
        carry_out(own_servers, service)


def test_tables_that_do_not_come_back_are_seen(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_servers.endpoints.database_url
    monkeypatch.setattr(postgres_states, "MOST_WAIT_SECONDS", 0.2)
    with psycopg.connect(url, autocommit=True) as connection, psycopg.connect(url) as user:
        with pytest.raises(HarnessError, match="are still on the disk that was full"):
            with full_disk._full_postgres(own_servers):
                user.execute("SELECT * FROM pages")
        user.rollback()
        connection.execute("ALTER TABLE ALL IN TABLESPACE harness_small_disk SET TABLESPACE pg_default")
        connection.execute("ALTER INDEX ALL IN TABLESPACE harness_small_disk SET TABLESPACE pg_default")
        connection.execute("DROP TABLESPACE harness_small_disk")


def test_a_redis_that_does_not_recover_is_seen(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_disk, "_REDIS_SECONDS", 0.0)
    monkeypatch.setattr(full_disk, "_appends", lambda _: False)
    with pytest.raises(HarnessError, match="does not append to its file"):
        carry_out(own_servers, "redis")


def test_the_small_disk_ends_with_the_servers() -> None:
    with EmbeddedEnvironment() as environment:
        holder = int(environment.small_disk("postgres").split("/")[2])
        environment.restart("postgres")
        assert is_alive(holder)
    assert not is_alive(holder)


@pytest.mark.parametrize(
    ("command", "why"),
    [(("no-such-program",), "no-such-program: "), (("sh", "-c", "echo not allowed >&2"), "not allowed")],
)
def test_a_machine_without_such_file_systems_says_so(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], why: str
) -> None:
    monkeypatch.setattr(local_disks, "_HOLDER", command)
    monkeypatch.setattr(own_servers, "_small_disks", {})
    with pytest.raises(GateError, match=f"no file system of its own.*{why}"):
        carry_out(own_servers, "postgres")


def test_an_environment_without_access_to_its_disks_is_refused() -> None:
    with pytest.raises(UsageError, match="embedded or containers"):
        carry_out(None, "redis")
