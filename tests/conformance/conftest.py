"""The backends that one contract is checked against: fakes in this process, and the embedded servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import fakeredis
import pytest
import redis
from sqlalchemy import Engine

from agentexec.core.db import create_schema, engine_for
from agentexec.queue.redis_queue import RedisQueue
from harness.environments.embedded import EmbeddedEnvironment
from harness.simulation.queue.memory_queue import MemoryQueue
from tests.support.queue_contents import Clock, Inspector, MemoryInspector, RedisInspector
from tests.support.servers import required_postgres_15, required_redis7


@pytest.fixture(scope="session")
def redis7() -> Iterator[str]:
    """The URL of Debian's Redis 7, a server of another family than the embedded Valkey."""
    with required_redis7() as environment:
        yield environment.endpoints.redis_url


OVER_REDIS = (
    "fakeredis",
    pytest.param("valkey", marks=pytest.mark.integration),
    pytest.param("redis7", marks=pytest.mark.integration),
)


@contextmanager
def redis_inspector(kind: str, request: pytest.FixtureRequest) -> Iterator[RedisInspector]:
    """An empty queue with a unique name on such a server."""
    client: redis.Redis
    if kind == "fakeredis":
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
    elif kind == "redis7":
        client = redis.Redis.from_url(request.getfixturevalue("redis7"))
    else:
        client = redis.Redis.from_url(request.getfixturevalue("servers").endpoints.redis_url)
    queue = RedisQueue(client, f"conformance-{uuid4().hex}")
    yield RedisInspector(queue)
    queue.drop()
    client.close()


@pytest.fixture(params=["memory", *OVER_REDIS])
def inspector(request: pytest.FixtureRequest) -> Iterator[Inspector]:
    """An empty queue on every backend."""
    if request.param == "memory":
        clock = Clock()
        yield MemoryInspector(MemoryQueue(clock=clock), clock)
        return
    with redis_inspector(request.param, request) as inspector:
        yield inspector


@pytest.fixture(params=OVER_REDIS)
def over_redis(request: pytest.FixtureRequest) -> Iterator[RedisInspector]:
    """An empty queue on every backend that others can write into."""
    with redis_inspector(request.param, request) as inspector:
        yield inspector


@pytest.fixture(scope="session")
def postgres(servers: EmbeddedEnvironment) -> Iterator[Engine]:
    """The embedded Postgres with agentexec's tables."""
    engine = engine_for(servers.endpoints.database_url, pool_size=4)
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Engine]:
    """Debian's Postgres 15 with agentexec's tables."""
    with required_postgres_15() as environment:
        engine = engine_for(environment.endpoints.database_url, pool_size=4)
        create_schema(engine)
        yield engine
        engine.dispose()


POSTGRES = tuple(pytest.param(name, marks=pytest.mark.integration) for name in ("postgres", "postgres15"))


@pytest.fixture(params=["sqlite", *POSTGRES])
def database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine over a database with agentexec's tables; tests find their own rows by id."""
    if request.param != "sqlite":
        yield request.getfixturevalue(request.param)
        return
    engine = engine_for("sqlite://")
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=POSTGRES)
def postgres_of_each_kind(request: pytest.FixtureRequest) -> Engine:
    """For what needs several real connections, which SQLite in memory has not: it serialises everything."""
    engine: Engine = request.getfixturevalue(request.param)
    return engine
