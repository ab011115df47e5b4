"""The floor of the benchmarks keeps the promise that agentexec is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.urls import plain_url
from loadtests.bench import floor

pytestmark = pytest.mark.integration


@pytest.fixture
def connection(servers: EmbeddedEnvironment) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a server with the floor's empty table."""
    with closing(floor.connect(plain_url(servers.endpoints.database_url))) as made:
        floor.create(made)
        yield made
        made.execute("DROP TABLE floor")


def test_a_drain_records_a_claim_and_an_end_of_every_task(connection: psycopg.Connection[Any]) -> None:
    ids = floor.enqueue(connection, [b"{}"] * 10)
    count, began, ended = floor.drain(connection, 4)
    assert count == len(ids) == 10
    assert 0 < began < ended
    query = "SELECT count(*) FROM floor WHERE queued <= started AND started <= ended AND token = 1 AND lease IS NULL"
    assert connection.execute(query).fetchone() == (10,)


def test_an_overtaken_holder_cannot_record_an_end(connection: psycopg.Connection[Any]) -> None:
    floor.enqueue(connection, [b"{}"])
    [(task, token, context)] = floor.step(connection, [], 1)
    assert context == b"{}"
    connection.execute("UPDATE floor SET token = token + 1")
    assert floor.step(connection, [(task, token, context)], 1) == []
    assert connection.execute("SELECT ended FROM floor").fetchone() == (None,)
    floor.step(connection, [(task, token + 1, context)], 1)
    assert connection.execute("SELECT ended IS NULL FROM floor").fetchone() == (False,)
