"""Real servers and a real pool for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from tests.support.pool_process import App
from tests.support.servers import shared_environment


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedEnvironment]:
    """Real Postgres and Valkey, one pair per pytest process."""
    with shared_environment() as environment:
        yield environment


@pytest.fixture
def app(servers: EmbeddedEnvironment, tmp_path: Path) -> Iterator[App]:
    """An application with a queue of its own; whatever it started is gone afterwards."""
    app = App(servers, tmp_path)
    yield app
    app.close()
