"""An activity store, a Redis and a client over both, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
from sqlalchemy import Engine

import agentexec as ax
from agentexec.core.db import create_schema, engine_for
from tests.support.activity_support import as_default, fake_client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ax.Client]:
    """A client over a SQLite file and fakeredis, which agentexec uses as its default."""
    with as_default(fake_client(tmp_path)) as client:
        yield client


@pytest.fixture
def engine() -> Iterator[Engine]:
    """SQLite in memory with agentexec's tables."""
    engine = engine_for("sqlite://")
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    """An empty fakeredis that reports version 7."""
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
    yield client
    client.close()
