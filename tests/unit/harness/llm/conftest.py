"""One endpoint for the tests of this folder, and a client of the real `openai` package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from harness.llm import Endpoint, EndpointProfile, LognormalDistribution, serving

FAST = EndpointProfile(
    seed=7,
    time_scale=100,
    output_tokens=LognormalDistribution(20, 60),
    tool_rounds=LognormalDistribution(2, 2),
)


@pytest.fixture(scope="session")
def shared_endpoint() -> Iterator[Endpoint]:
    with serving(FAST) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(shared_endpoint: Endpoint) -> Endpoint:
    shared_endpoint.meter()
    shared_endpoint.reset()
    shared_endpoint.calm()
    return shared_endpoint


def client_of(endpoint: Endpoint, **settings: Any) -> openai.OpenAI:
    """A client that does not retry, unless told."""
    wanted = {"base_url": endpoint.base_url, "api_key": endpoint.api_key, "max_retries": 0, "timeout": 20}
    return openai.OpenAI(**{**wanted, **settings})


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[openai.OpenAI]:
    with client_of(endpoint) as client:
        yield client
