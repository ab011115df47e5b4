"""Real servers and a real pool for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentexec.producer.client import Client
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.pool_process import App, pool_forks
from tests.support.production import Site


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The fork server of the pools of this pytest process."""
    with pool_forks(tmp_path_factory.mktemp("forks")) as address:
        yield address


@pytest.fixture
def app(servers: EmbeddedEnvironment, forks: str, tmp_path: Path) -> Iterator[App]:
    """An application with its own queue; its processes are gone afterwards."""
    app = App(servers, tmp_path, forks)
    yield app
    app.close()


@pytest.fixture
def site(servers: EmbeddedEnvironment, forks: str) -> Iterator[Site]:
    """A queue with a unique name on the real servers; its keys are deleted afterwards."""
    site = Site.on(servers.endpoints, forks)
    yield site
    with site.client() as client:
        client.queue.drop()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """A client of that queue."""
    with site.client() as client:
        yield client
