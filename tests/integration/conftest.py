"""Real servers and a real pool for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentexec.producer.client import Client
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.pool_process import App
from tests.support.production import Site


@pytest.fixture
def app(servers: EmbeddedEnvironment, tmp_path: Path) -> Iterator[App]:
    """An application with its own queue; its processes are gone afterwards."""
    app = App(servers, tmp_path)
    yield app
    app.close()


@pytest.fixture
def site(servers: EmbeddedEnvironment) -> Iterator[Site]:
    """A queue with a unique name on the real servers; its keys are deleted afterwards."""
    site = Site.on(servers.endpoints)
    yield site
    with site.client() as client:
        client.queue.drop()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """A client of that queue."""
    with site.client() as client:
        yield client
