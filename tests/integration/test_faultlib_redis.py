"""Faults that delete the memory of Redis, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import HarnessError
from harness.faults.base import FaultContext
from harness.faults.redis_memory import FailOverRedis, FlushRedis
from harness.scenario.schedule import plan_faults

pytestmark = pytest.mark.integration


class Field:
    """A fault context on real servers with a pool that only has a name, and a client of its own."""

    def __init__(self, environment: EmbeddedEnvironment | None) -> None:
        pool: Any = SimpleNamespace(worker_pids=lambda: [1], name="pool-1")
        pools: Any = SimpleNamespace(running=lambda: [pool])
        gates: Any = None
        self.context = FaultContext(gates=gates, pools=pools, environment=environment)

    def carry_out(self, fault: FlushRedis | FailOverRedis) -> None:
        [planned] = plan_faults([fault], seed=1, due=[0.0])
        aim = fault.aim(self.context, planned)
        assert aim.pids == ()
        fault.inject(self.context, planned, aim)
        fault.heal(self.context, planned, aim)


@pytest.fixture
def connection(servers: EmbeddedEnvironment) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.endpoints.redis_url) as connection:
        yield connection


@pytest.fixture
def field(servers: EmbeddedEnvironment) -> Field:
    return Field(servers)


def test_a_flushed_redis_is_empty(connection: redis.Redis, field: Field) -> None:
    connection.set("kept", "no")
    field.carry_out(FlushRedis(at=0.0))
    assert connection.dbsize() == 0


def test_a_late_replica_knows_what_was_known_before_and_nothing_since(
    connection: redis.Redis, field: Field
) -> None:
    connection.flushall()
    connection.rpush("list", "a", "b")
    connection.zadd("sorted", {"x": 1.5})
    connection.set("passing", "yes", ex=600)

    def meanwhile(seconds: float) -> None:
        connection.lpop("list")
        connection.delete("sorted")
        connection.set("new", "yes")

    field.carry_out(FailOverRedis(at=0.0, lag=1.0, sleep=meanwhile))
    assert connection.lrange("list", 0, -1) == [b"a", b"b"]
    assert connection.zscore("sorted", "x") == 1.5
    assert 0 < int(str(connection.ttl("passing"))) <= 600
    assert not connection.exists("new")


def test_a_fault_without_servers_raises() -> None:
    with pytest.raises(HarnessError, match="no servers"):
        Field(None).carry_out(FlushRedis(at=0.0))
