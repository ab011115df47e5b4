"""The meter is exact, whatever the client does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from harness.errors import EnvironmentUnavailable, UsageError
from harness.llm import Billing, Endpoint, EndpointProfile, LognormalDistribution, serving
from harness.llm.meter import Lateness, Meter, RequestOutcome, key_label
from tests.unit.harness.llm.conftest import client_of

ASK: Any = [{"role": "user", "content": "Which city is it?"}]


@contextmanager
def raw_answer(endpoint: Endpoint, **headers: str) -> Iterator[socket.socket]:
    """A connection that has asked for a stream; it ends without a word at the end of the block."""
    address = urlsplit(endpoint.root)
    body = json.dumps({"model": "m", "stream": True, "messages": ASK}).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: {address.netloc}",
        "Authorization: Bearer simulated-x",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=5) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        yield connection


def test_what_the_clients_are_told_is_what_is_billed(endpoint: Endpoint) -> None:
    told = []

    def ask(key: str) -> None:
        with client_of(endpoint, api_key=key) as client:
            for _ in range(10):
                usage = client.chat.completions.create(model="m", messages=ASK).usage
                assert usage is not None
                told.append((key, usage.prompt_tokens, usage.completion_tokens))

    threads = [threading.Thread(target=ask, args=[f"simulated-{name}"]) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = endpoint.meter()
    assert found["totals"]["requests"] == len(told) == 30
    for key in ("simulated-a", "simulated-b", "simulated-c"):
        assert found["keys"][key]["prompt_tokens"] == sum(prompt for name, prompt, _ in told if name == key)
        assert found["keys"][key]["completion_tokens"] == sum(
            tokens for name, _, tokens in told if name == key
        )
    assert found["totals"]["sent_tokens"] == found["totals"]["completion_tokens"]


def slow(abandoned: Billing) -> EndpointProfile:
    """100 tokens, one each 20 ms after the first."""
    one = LognormalDistribution
    return EndpointProfile(
        first_token=one(0.02, 0.02),
        per_token=one(0.02, 0.02),
        output_tokens=one(100, 100),
        abandoned=abandoned,
    )


@pytest.mark.parametrize("abandoned", list(Billing))
def test_a_client_that_leaves_pays_what_was_generated_or_everything(abandoned: Billing) -> None:
    with serving(slow(abandoned)) as endpoint:
        with raw_answer(endpoint, X_Activity_Id="a", X_Activity_Step="1") as connection:
            seen = b""
            while seen.count(b"data:") < 5:
                seen += connection.recv(65_536)
        (request,) = endpoint.records().requests
    assert request.outcome is RequestOutcome.DISCONNECTED
    assert (request.activity, request.step) == ("a", "1")
    assert request.prompt_tokens > 0
    if abandoned is Billing.WHOLE:
        assert request.completion_tokens == 100
    else:
        assert 4 <= request.sent_tokens <= request.completion_tokens < 100


def test_clients_that_leave_are_no_errors_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    one = LognormalDistribution
    profile = EndpointProfile(
        first_token=one(0.01, 0.01), per_token=one(0.0001, 0.0001), output_tokens=one(5_000, 5_000)
    )
    with serving(profile) as endpoint:
        for _ in range(10):
            with raw_answer(endpoint) as connection:
                connection.recv(1)
        assert endpoint.meter()["totals"]["disconnected"] == 10
    assert [record.getMessage() for record in caplog.records] == []


def test_a_client_that_leaves_before_the_first_token_pays_the_prompt() -> None:
    profile = EndpointProfile(first_token=LognormalDistribution(60, 60))
    with serving(profile) as endpoint:
        with raw_answer(endpoint):
            while not endpoint.meter(settle=0)["running"]:
                pass
        (request,) = endpoint.records().requests
    assert (request.outcome, request.completion_tokens) == (RequestOutcome.DISCONNECTED, 0)
    assert request.prompt_tokens > 0


def test_a_cut_stream_bills_what_was_sent(endpoint: Endpoint, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="m", messages=ASK, stream=True, extra_headers={"X-Simulated-Fault": "cut"}
    )
    with pytest.raises(openai.APIConnectionError):
        list(stream)
    (request,) = endpoint.records().requests
    assert request.outcome is RequestOutcome.CUT
    assert 1 <= request.completion_tokens == request.sent_tokens


def test_a_slow_loris_sends_byte_by_byte(endpoint: Endpoint) -> None:
    with raw_answer(endpoint, X_Simulated_Fault="slow-loris") as connection:
        connection.settimeout(2)
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += connection.recv(65_536)
        sizes = [len(connection.recv(65_536)) for _ in range(20)]
    # A byte comes as a chunk of HTTP with 6 bytes.
    assert max(sizes) <= 30
    (request,) = endpoint.records().requests
    assert request.outcome is RequestOutcome.DISCONNECTED


def test_refused_requests_cost_nothing(endpoint: Endpoint, client: openai.OpenAI) -> None:
    for fault in ("429", "503"):
        with pytest.raises(openai.APIStatusError):
            client.responses.create(model="m", input="x", extra_headers={"X-Simulated-Fault": fault})
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="m", input=[])
    totals = endpoint.meter()["totals"]
    assert (totals["requests"], totals["errors"]) == (3, 3)
    assert totals["prompt_tokens"] == totals["completion_tokens"] == 0


def test_labels_come_from_headers_metadata_or_the_user(endpoint: Endpoint, client: openai.OpenAI) -> None:
    metadata = {"activity": "a", "step": "2", "prompt_tokens": "119531", "cached_tokens": "118656"}
    client.responses.create(model="m", input="x", metadata={**metadata, "completion_tokens": "214"})
    client.chat.completions.create(model="m", messages=ASK, user="a/3")
    client.chat.completions.create(
        model="m", messages=ASK, user="b/4", extra_headers={"X-Activity-Id": "a", "X-Activity-Step": "1"}
    )
    found = endpoint.records("a").requests
    assert [request.step for request in found] == ["2", "3", "1"]
    assert (found[0].prompt_tokens, found[0].cached_tokens) == (119_531, 118_656)
    assert found[0].completion_tokens == 214
    assert endpoint.records("b").requests == ()


def test_a_reset_keeps_running_requests_whole() -> None:
    with serving(slow(Billing.GENERATED)) as endpoint:
        with raw_answer(endpoint) as connection:
            connection.recv(65_536)
            endpoint.reset()
            connection.recv(65_536)
        totals = endpoint.meter()["totals"]
        assert (totals["requests"], totals["disconnected"]) == (1, 1)
        assert totals["prompt_tokens"] > 0
        endpoint.reset()
        assert endpoint.meter()["totals"]["requests"] == 0
        assert endpoint.records().requests == ()


def test_real_keys_are_not_shown() -> None:
    assert key_label("simulated-a") == "simulated-a"
    assert "secret" not in key_label("sk-secret")
    assert key_label("sk-secret") == key_label("sk-secret") != key_label("sk-other")


def test_records_beyond_the_memory_are_in_the_sums_and_counted_as_dropped() -> None:
    meter = Meter(most_records=1)
    for _ in range(3):
        meter.end(begun(meter), RequestOutcome.COMPLETE, 200)
    assert meter.to_value()["totals"]["requests"] == 3
    assert meter.to_value()["dropped_records"] == 2
    assert len(meter.records()["requests"]) == 1


def test_a_request_ends_once() -> None:
    meter = Meter()
    record = begun(meter)
    meter.end(record, RequestOutcome.CUT)
    meter.end(record, RequestOutcome.COMPLETE)
    assert meter.totals.requests == meter.totals.cut == 1


def begun(meter: Meter) -> Any:
    labels = dict.fromkeys(("activity", "step", "client_id"))
    return meter.begin(id="r", key="k", api="chat", model="m", stream=False, **labels)


@pytest.mark.parametrize(
    ("seconds", "figures"),
    [
        ([], {"events": 0}),
        ([0.001], {"events": 1, "p50": 1.1, "p99": 1.1, "p99.9": 1.1, "max": 1.1}),
        ([-1.0] * 99 + [0.5], {"events": 100, "p50": 0.1, "p99": 0.1, "p99.9": 500.1, "max": 500.1}),
    ],
)
def test_quantiles_of_lateness(seconds: list[float], figures: dict[str, float]) -> None:
    lateness = Lateness()
    for each in seconds:
        lateness.add(each)
    assert lateness.to_value() == figures


def test_a_tool_runs_and_is_counted(endpoint: Endpoint, client: openai.OpenAI) -> None:
    headers = {"X-Activity-Id": "a", "X-Activity-Step": "1", "X-Tool-Call-Id": "call_1"}
    run: Callable[[], Any] = lambda: client.post(  # noqa: E731 - one call, used twice
        "/tools/look_up", cast_to=object, body={"city": "Rome"}, options={"headers": headers}
    )
    assert run() == run()
    runs = endpoint.records().tool_runs
    assert [(each.name, each.call, each.activity, each.step) for each in runs] == [
        ("look_up", "call_1", "a", "1")
    ] * 2


def test_a_url_with_a_password_is_refused_without_it() -> None:
    with pytest.raises(UsageError) as refused:
        Endpoint("http://user:secret@127.0.0.1:1").meter()
    assert "secret" not in str(refused.value)


def test_an_answer_that_is_cut_is_one_sentence() -> None:
    def cut(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"running"')

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=cut, args=[listener])
        thread.start()
        with pytest.raises(EnvironmentUnavailable, match="does not answer"):
            Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}").meter()
        thread.join()
