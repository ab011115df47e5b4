"""The benchmark of what a record costs Postgres."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.urls import plain_url
from loadtests.bench import recording
from loadtests.bench.bench import BenchEnvironment

pytestmark = pytest.mark.integration


def test_each_record_has_a_cost_beside_the_floor_and_no_database_is_left(
    servers: EmbeddedEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "TASKS", 100)
    results = recording.recording(BenchEnvironment(endpoints=servers.endpoints, folder=tmp_path), 1)
    assert len(results) == 4 * len(recording.WITHOUT)
    assert all(result.ratio is not None and result.ratio > 0 for result in results)
    with psycopg.connect(plain_url(servers.endpoints.database_url)) as server:
        found = server.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'bench%'").fetchone()
    assert found == (0,)
