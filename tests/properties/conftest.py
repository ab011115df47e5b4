"""The real servers for the machine that runs on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from tests.support.servers import shared_environment


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedEnvironment]:
    """Real Postgres and Valkey, one pair per pytest process."""
    with shared_environment() as environment:
        yield environment
