"""Disturbances of the LLM endpoint of a run: a handler gets its answer all the same; a fault has to hit a request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import EnvironmentUnavailable, GateError, UsageError
from harness.faults.base import FaultContext, PlannedFault
from harness.faults.endpoint import DisturbEndpoint, disturbed
from harness.history import History, OperationType
from harness.kit.harness_worker import model, worker
from harness.kit.harness_worker.recording import close_files
from harness.llm.distribution import LognormalDistribution
from harness.llm.profile import EndpointProfile
from harness.llm.serving import Endpoint, serving
from harness.targets import body
from tests.conftest import Eventually

PROFILE = EndpointProfile(time_scale=1_000.0, output_tokens=LognormalDistribution(5, 9))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """One endpoint for all tests of the module; each leaves it calm."""
    with serving(PROFILE) as found:
        yield found


def context(endpoint: Endpoint | None) -> FaultContext:
    gates: Any = None
    pools: Any = SimpleNamespace(running=lambda: [SimpleNamespace(name="pool-1", worker_pids=lambda: [1])])
    return FaultContext(gates=gates, pools=pools, endpoint=endpoint)


def planned(text: str, seconds: float = 0.0) -> PlannedFault:
    [fault] = disturbed(text)
    chosen = DisturbEndpoint(disturbance=fault.disturbance, at=fault.at, seconds=seconds)
    return PlannedFault(number=1, fault=chosen, gate="", moment=0.0, draw=0.0)


def content(endpoint: Endpoint) -> str:
    return f"{endpoint.base_url}\n{endpoint.api_key}\n"


@pytest.mark.parametrize(
    "text", ["429 share=0.5 retry_after=1", "500 share=0.5", "cut share=0.5", "slow share=0.5"]
)
def test_a_handler_gets_its_answer_whatever_is_wrong_with_the_endpoint(
    endpoint: Endpoint, text: str, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    given, one = context(endpoint), planned(text)
    stop = threading.Event()

    def is_hit() -> bool:
        return any(request.fault for request in endpoint.records(settle=0.0).requests)

    until_hit = SimpleNamespace(sleep=lambda _: eventually(is_hit, deadline=30.0))
    monkeypatch.setattr("harness.faults.endpoint.time", until_hit)

    def ask() -> None:
        while not stop.is_set():
            model.ask(content(endpoint), 1, "a")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        one.fault.inject(given, one, one.fault.aim(given, one))
        one.fault.heal(given, one, one.fault.aim(given, one))
    finally:
        stop.set()
        asking.join()
    endpoint.reset()
    model.ask(content(endpoint), 2, "b")
    [request] = endpoint.records().requests
    assert (request.activity, request.fault, request.outcome) == ("b", None, "complete")


def test_a_disturbance_that_hits_no_request_is_no_fault(endpoint: Endpoint) -> None:
    given, one = context(endpoint), planned("503")
    with pytest.raises(GateError, match="no request to the endpoint was hit by 503"):
        one.fault.inject(given, one, one.fault.aim(given, one))
    one.fault.heal(given, one, one.fault.aim(given, one))


def test_a_run_without_an_endpoint_has_nothing_to_disturb() -> None:
    one = planned("503")
    with pytest.raises(UsageError, match="endpoint=EndpointProfile"):
        one.fault.aim(context(None), one)


def test_an_endpoint_that_cannot_be_healed_is_seen() -> None:
    with serving(PROFILE) as endpoint:
        given, one = context(endpoint), planned("503")
        aim = one.fault.aim(given, one)
    with pytest.raises(EnvironmentUnavailable, match="does not answer"):
        one.fault.heal(given, one, aim)


def test_a_client_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MOST_SECONDS", 0.0)
    with pytest.raises(model.ModelAway, match="no whole answer within"):
        model.ask("http://127.0.0.1:1/v1 key", 1, "a")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_handler_asks_the_endpoint_of_its_run(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    for name, value in body.worker_environment(tmp_path, str(tmp_path / "gate")).items():
        monkeypatch.setenv(name, value)
    (tmp_path / model.ENDPOINT_FILE).write_text(content(endpoint), "utf-8")
    endpoint.reset()
    close_files()
    if asynchronous:
        asyncio.run(body.perform(7, activity="seven", attempt=1, fence=None, work=0.0))
    else:
        with worker.run(7, activity="seven"):
            pass
    assert [one.activity for one in endpoint.records().requests] == ["seven"]
    assert len(list(History.load(tmp_path).where("run", OperationType.OK))) == 1
    close_files()
