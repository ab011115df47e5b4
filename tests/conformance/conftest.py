"""The backends that one contract is checked against: fakes in this process, and the embedded servers."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import fakeredis
import pytest
import redis
from sqlalchemy import Engine

from agentexec.core.db import create_schema, engine_for
from agentexec.redis_queue import RedisQueue
from harness.environments.embedded import EmbeddedEnvironment
from tests.servers import shared_environment


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedEnvironment]:
    """Real Postgres and Valkey, one pair per pytest process."""
    with shared_environment() as environment:
        yield environment


@pytest.fixture(params=["fakeredis", pytest.param("valkey", marks=pytest.mark.integration)])
def queue(request: pytest.FixtureRequest) -> Iterator[RedisQueue]:
    """An empty queue with a name of its own."""
    client: redis.Redis
    if request.param == "fakeredis":
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
    else:
        client = redis.Redis.from_url(request.getfixturevalue("servers").endpoints.redis_url)
    queue = RedisQueue(client, f"conformance-{uuid4().hex}")
    yield queue
    queue.drop()
    client.close()


@pytest.fixture(scope="session")
def postgres(servers: EmbeddedEnvironment) -> Iterator[Engine]:
    """The embedded Postgres with agentexec's tables."""
    engine = engine_for(servers.endpoints.database_url, pool_size=4)
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.integration)])
def database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine over a database that has agentexec's tables; tests tell their rows apart by their ids."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    engine = engine_for("sqlite://")
    create_schema(engine)
    yield engine
    engine.dispose()
