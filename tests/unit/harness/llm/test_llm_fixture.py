"""The fixtures of the pytest plugin for a simulated endpoint."""

from __future__ import annotations

from harness.llm import Endpoint
from harness.pytest_plugin import llm_endpoint, llm_profile
from tests.unit.harness.llm.conftest import client_of

__all__ = ["llm_endpoint", "llm_profile"]


def test_each_test_has_an_endpoint_with_an_empty_meter(llm_endpoint: Endpoint) -> None:
    with client_of(llm_endpoint) as client:
        client.responses.create(model="m", input="x")
    assert llm_endpoint.meter()["totals"]["requests"] == 1
