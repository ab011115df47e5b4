"""What Redis forgets, on a real server."""

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
from tests.support.servers import shared_environment

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
def client() -> Iterator[redis.Redis]:
    with shared_environment() as environment:
        with redis.Redis.from_url(environment.endpoints.redis_url) as client:
            yield client


@pytest.fixture
def field() -> Iterator[Field]:
    with shared_environment() as environment:
        yield Field(environment)


def test_a_flushed_redis_knows_nothing(client: redis.Redis, field: Field) -> None:
    client.set("kept", "no")
    field.carry_out(FlushRedis(at=0.0))
    assert client.dbsize() == 0


def test_a_late_replica_knows_what_was_known_before_and_nothing_since(
    client: redis.Redis, field: Field
) -> None:
    client.flushall()
    client.rpush("list", "a", "b")
    client.zadd("sorted", {"x": 1.5})
    client.set("passing", "yes", ex=600)

    def meanwhile(seconds: float) -> None:
        client.lpop("list")
        client.delete("sorted")
        client.set("new", "yes")

    field.carry_out(FailOverRedis(at=0.0, lag=1.0, sleep=meanwhile))
    assert client.lrange("list", 0, -1) == [b"a", b"b"]
    assert client.zscore("sorted", "x") == 1.5
    assert 0 < int(str(client.ttl("passing"))) <= 600
    assert not client.exists("new")


def test_a_fault_without_servers_raises() -> None:
    with pytest.raises(HarnessError, match="no servers"):
        Field(None).carry_out(FlushRedis(at=0.0))
