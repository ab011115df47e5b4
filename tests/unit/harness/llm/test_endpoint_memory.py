"""An endpoint that runs for days, or gets huge requests, keeps a bounded amount of memory and answers on."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from harness.llm import EndpointProfile
from harness.llm import server as server_module
from harness.llm.answers import planned_answer
from harness.llm.limits import RateLimiter
from harness.llm.meter import Meter, MeteredRequest, RequestOutcome
from harness.llm.request import RefusedRequest, RequestLabels, responses_request
from harness.llm.responses import ResponsesFormat, StoredResponses
from harness.llm.schema_values import schema_value
from harness.llm.server import EndpointServer


def begun(meter: Meter, **labels: Any) -> MeteredRequest:
    given = {"id": "", "key": "a", "api": "chat", "model": "m", "stream": False}
    return meter.begin(**{**given, "activity": None, "step": None, "client_id": None, **labels})


def stored(responses: StoredResponses, body: dict[str, Any], seed: int) -> str:
    """The id of a response to the body, which is stored."""
    before = responses.before(body)
    request = responses_request({"model": "m", **body}, RequestLabels(), before)
    answer = planned_answer(request, EndpointProfile(), Random(seed))
    made = ResponsesFormat(request, answer, begun(Meter()), 0)
    responses.store(body, made, before)
    return made.id


def test_long_conversations_are_dropped_before_the_memory_is_full() -> None:
    responses = StoredResponses(most_characters=1_000_000)
    first = stored(responses, {"input": "x" * 400_000}, 1)
    assert stored(responses, {"input": "x" * 400_000}, 1) == first  # and is no further one
    second = stored(responses, {"input": "x" * 400_000, "previous_response_id": first}, 2)
    assert len(responses.before({"previous_response_id": first})) == 2
    stored(responses, {"input": "x" * 400_000}, 3)
    with pytest.raises(RefusedRequest, match="not found"):
        responses.before({"previous_response_id": first})
    assert len(responses.before({"previous_response_id": second})) == 4


@pytest.mark.parametrize("wrong", [["resp"], {"id": "resp"}, 7])
def test_a_previous_response_that_is_no_text_is_not_found(wrong: object) -> None:
    with pytest.raises(RefusedRequest, match="not found"):
        StoredResponses().before({"previous_response_id": wrong})


def test_a_response_is_whole_although_the_one_before_it_is_dropped_meanwhile() -> None:
    responses = StoredResponses(most_characters=1_000)
    first = stored(responses, {"input": "one"}, 1)
    body = {"input": "two", "previous_response_id": first}
    before = responses.before(body)
    stored(responses, {"input": "x" * 2_000}, 2)
    request = responses_request({"model": "m", **body}, RequestLabels(), before)
    made = ResponsesFormat(request, planned_answer(request, EndpointProfile(), Random(3)), begun(Meter()), 0)
    responses.store(body, made, before)
    assert [item.get("content") for item in responses.before({"previous_response_id": made.id})][::2] == [
        "one",
        "two",
    ]


def test_the_limits_forget_keys_that_have_not_asked_for_a_minute() -> None:
    limiter = RateLimiter(60, None)
    for number in range(30_000):
        limiter.admit(f"key-{number}", 1, number / 300)
    assert len(limiter._buckets) <= 20_000
    assert limiter.admit("key-29999", 1, 100).limits["requests"][1] < 59


def test_the_meter_sums_many_keys_and_models_together() -> None:
    meter = Meter()
    for number in range(3_000):
        meter.end(begun(meter, key=f"key-{number}", model=f"model-{number}"), RequestOutcome.COMPLETE, 200)
    for sums in (meter.keys, meter.models):
        assert len(sums) == 1_001
        assert sums["(others)"].requests == 2_000
    assert meter.totals.requests == 3_000


def test_the_orders_of_steps_are_those_that_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_MOST_ORDERS", 10)

    async def ask() -> EndpointServer:
        server = EndpointServer(EndpointProfile())
        for step in range(100):
            server._draws("key", RequestLabels(activity="a", step=str(step)))
            server._draws("key", RequestLabels(activity="a", step="again"))
        return server

    orders = asyncio.run(ask())._orders
    assert len(orders) == 10
    assert orders["a", "again"] == 100


def test_a_schema_that_refers_to_itself_has_a_value_of_bounded_size() -> None:
    """Six such properties in eight levels are a million values: one request would stop all streams for a minute."""
    branches = {name: {"$ref": "#"} for name in "abcdef"}
    schema = {"type": "object", "properties": {"v": {"type": "integer"}, **branches}, "required": ["v"]}
    value = schema_value(schema, Random(1))
    assert len(json.dumps(value)) < 1_000_000
    assert isinstance(value["f"]["v"], int)
    with pytest.raises(RefusedRequest, match="Invalid schema"):
        schema_value({**schema, "required": list("abcdef")}, Random(1))
