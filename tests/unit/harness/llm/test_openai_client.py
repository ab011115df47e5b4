"""The official `openai` client against the simulated endpoint."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import openai
import pytest
from pydantic import BaseModel

from harness.llm import Endpoint, EndpointProfile, serving
from tests.unit.harness.llm.conftest import client_of

ASK: Any = [{"role": "user", "content": "Which city is it?"}]
LOOK_UP = {
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "limit": {"type": "integer", "maximum": 9}},
        "required": ["city"],
    },
}
CHAT_TOOLS: Any = [{"type": "function", "function": LOOK_UP}]
TOOLS: Any = [{"type": "function", **LOOK_UP}]


def step(number: int, fault: str | None = None) -> dict[str, str]:
    """The headers of a step of an activity."""
    headers = {"X-Activity-Id": "a1", "X-Activity-Step": str(number)}
    return headers if fault is None else {**headers, "X-Simulated-Fault": fault}


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["simulated-model"]
    assert client.models.retrieve("gpt-x").id == "gpt-x"


def test_a_stream_has_the_text_and_the_usage_of_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="m", messages=ASK, extra_headers=step(1))
    stream = client.chat.completions.create(
        model="m", messages=ASK, extra_headers=step(1), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.usage for chunk in chunks if chunk.usage] == [whole.usage]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len(text.split())


def test_the_same_seed_and_order_give_the_same_answers() -> None:
    def answers(seed: int) -> list[str | None]:
        profile = EndpointProfile(seed=seed, time_scale=1000)
        with serving(profile) as endpoint, client_of(endpoint) as client:
            made = [client.chat.completions.create(model="m", messages=ASK) for _ in range(3)]
        return [one.choices[0].message.content for one in made]

    first = answers(1)
    assert len(set(first)) == 3
    assert answers(1) == first
    assert answers(2) != first


def test_a_conversation_with_tools_calls_them_and_then_ends(client: openai.OpenAI) -> None:
    messages, finishes = list(ASK), []
    for _ in range(3):
        answer = client.chat.completions.create(model="m", messages=messages, tools=CHAT_TOOLS).choices[0]
        finishes.append(answer.finish_reason)
        messages.append(answer.message.model_dump(exclude_none=True))
        for call in answer.message.tool_calls or ():
            assert call.type == "function"
            assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "found"})
    assert finishes == ["tool_calls", "tool_calls", "stop"]


def test_streamed_tool_calls_are_those_of_the_whole_answer(client: openai.OpenAI) -> None:
    asked: Any = {"model": "m", "messages": ASK, "tools": CHAT_TOOLS, "extra_headers": step(3)}
    whole = client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message
    calls = [(call.id, call.function.name, call.function.arguments) for call in whole.tool_calls or ()]
    assert calls
    assert [(c.id, c.function.name, c.function.arguments) for c in streamed.tool_calls or ()] == calls


NAMED = {"type": "function", "function": {"name": "look_up"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}


@pytest.mark.parametrize(
    ("choice", "finish"),
    [("none", "stop"), ("required", "tool_calls"), (NAMED, "tool_calls"), (ALLOWED, "tool_calls")],
)
def test_tool_choice_is_obeyed(client: openai.OpenAI, choice: Any, finish: str) -> None:
    asked = client.chat.completions.create(model="m", messages=ASK, tools=CHAT_TOOLS, tool_choice=choice)
    assert asked.choices[0].finish_reason == finish


def test_a_limit_of_tokens_ends_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=ASK, max_completion_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    response = client.responses.create(model="m", input="Hello.", max_output_tokens=5)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int
    friends: list[str]


def test_structured_answers_have_the_asked_schema(client: openai.OpenAI) -> None:
    chat = client.chat.completions.parse(model="m", messages=ASK, response_format=Person)
    assert isinstance(chat.choices[0].message.parsed, Person)
    assert isinstance(
        client.responses.parse(model="m", input="Hi.", text_format=Person).output_parsed, Person
    )


def test_a_response_is_the_same_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="m", input="Hello.", extra_headers=step(4))
    with client.responses.stream(model="m", input="Hello.", extra_headers=step(4)) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert whole.output_text
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


def test_a_response_calls_tools_and_continues_from_the_previous_one(client: openai.OpenAI) -> None:
    first = client.responses.create(model="m", input="Hello.", tools=TOOLS, extra_headers=step(5))
    with client.responses.stream(model="m", input="Hello.", tools=TOOLS, extra_headers=step(5)) as stream:
        streamed = stream.get_final_response()
    calls = [item.to_dict() for item in first.output if item.type == "function_call"]
    assert calls
    kept = [{key: item.to_dict()[key] for key in calls[0]} for item in streamed.output]
    assert kept == calls
    output: Any = [{"type": "function_call_output", "call_id": calls[0]["call_id"], "output": "found"}]
    second = client.responses.create(model="m", input=output, tools=TOOLS, previous_response_id=first.id)
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="resp_none"):
        client.responses.create(model="m", input="x", previous_response_id="resp_none")


def test_a_client_retries_after_a_storm_of_429(endpoint: Endpoint) -> None:
    """The window is 1 s of real time. The client's own back-off, at most 0.5 s, would be in it, and fail again."""
    with client_of(endpoint, max_retries=1) as client:
        client.models.list()
        endpoint.disturb("429 lasting=100")
        client.chat.completions.create(model="m", messages=ASK)
    assert endpoint.meter()["totals"]["errors"] == 1


def test_a_429_says_when_to_retry(endpoint: Endpoint) -> None:
    profile = EndpointProfile(requests_per_minute=1, tokens_per_minute=100_000, time_scale=10)
    with serving(profile) as limited, client_of(limited) as client:
        answer = client.chat.completions.with_raw_response.create(model="m", messages=ASK, max_tokens=5)
        assert answer.headers["x-ratelimit-limit-requests"] == "1"
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="m", messages=ASK, max_tokens=5)
        with pytest.raises(openai.RateLimitError):
            client.responses.create(model="m", input="x")
        client.with_options(api_key="another").chat.completions.create(model="m", messages=ASK, max_tokens=5)
    headers = refused.value.response.headers
    # A minute of simulated time, a tenth of it in real time, less what has passed since.
    assert 1 <= int(headers["retry-after"]) <= 6
    assert 0 < int(headers["retry-after-ms"]) <= 6_001
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "requests"


def ask_whole(client: openai.OpenAI, fault: str, stream: bool) -> None:
    """Ask with a fault, and read the answer to its end."""
    asked: Any = {"model": "m", "messages": ASK, "extra_headers": step(6, fault), "stream": stream}
    answer = client.chat.completions.create(**asked)
    for _ in answer if stream else ():
        pass


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("502", openai.InternalServerError),
        ("503", openai.InternalServerError),
        ("529", openai.InternalServerError),
        ("cut", openai.APIConnectionError),
        ("stream-error", openai.APIError),
        ("hang", openai.APITimeoutError),
        ("malformed", json.JSONDecodeError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_on_request_raises(
    endpoint: Endpoint, fault: str, error: type[Exception], stream: bool
) -> None:
    with client_of(endpoint, timeout=0.3 if fault == "hang" else 20) as client, pytest.raises(error):
        ask_whole(client, fault, stream)
    assert endpoint.meter()["faults"] == {fault: 1}


def test_a_failed_stream_of_responses_ends_with_their_error_event(client: openai.OpenAI) -> None:
    stream = client.responses.create(model="m", input="x", stream=True, extra_headers=step(6, "stream-error"))
    assert list(stream)[-1].type == "error"


def test_a_surrogate_is_no_error_of_the_server(endpoint: Endpoint) -> None:
    body = b'{"model": "m", "input": "\\ud800", "metadata": {"activity": "\\ud800", "step": "1"}}'
    headers = {"Authorization": "Bearer simulated-x", "Content-Type": "application/json"}
    with urlopen(Request(f"{endpoint.base_url}/responses", data=body, headers=headers), timeout=20) as answer:
        assert json.load(answer)["status"] == "completed"
    (request,) = endpoint.records().requests
    assert (request.activity, request.step) == ("?", "1")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": "x"},
        {"enum": {"a": 1}},
        {"anyOf": [1]},
        {"type": "array", "items": 1},
        {"$ref": "#/x/y"},
    ],
)
def test_an_impossible_schema_is_refused_and_no_error_of_the_server(
    client: openai.OpenAI, schema: Any
) -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}
    asked: Any = {"model": "m", "input": "x", "tools": [tool], "tool_choice": "required"}
    if "$ref" in schema:
        assert client.responses.create(**asked).output
    else:
        with pytest.raises(openai.BadRequestError, match="Invalid schema"):
            client.responses.create(**asked)


@pytest.mark.parametrize("stream", [False, True])
def test_wrong_content_on_request(client: openai.OpenAI, stream: bool) -> None:
    def asked(fault: str) -> Any:
        settings: Any = {"model": "m", "messages": ASK, "tools": CHAT_TOOLS, "extra_headers": step(7, fault)}
        if not stream:
            return client.chat.completions.create(**settings).choices[0]
        with client.chat.completions.stream(**settings) as streamed:
            for _ in streamed:
                pass
            return streamed.current_completion_snapshot.choices[0]

    assert not asked("empty").message.content
    assert asked("unknown-tool").message.tool_calls[0].function.name == "tool_that_was_not_offered"
    with pytest.raises(json.JSONDecodeError):
        json.loads(asked("bad-arguments").message.tool_calls[0].function.arguments)


def test_a_page_instead_of_json(client: openai.OpenAI) -> None:
    answer: object = client.chat.completions.create(
        model="m", messages=ASK, extra_headers=step(8, "not-json")
    )
    assert isinstance(answer, str)
    assert answer.startswith("<html>")


def test_a_content_filter_ends_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=ASK, extra_headers=step(9, "content-filter"))
    assert answer.choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"model": ""}, "model"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": 1}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "none"}}}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"metadata": {"prompt_tokens": "many"}}, None),
        ({"metadata": {"fault": "none"}}, "fault"),
        ({"metadata": {"activity": "a" * 201}}, "activity"),
        ({"user": "a" * 201}, "activity"),
        ({"metadata": {"completion_tokens": "1000001"}}, "completion_tokens"),
    ],
)
def test_a_wrong_request_gets_an_error_in_the_format_of_openai(
    client: openai.OpenAI, wrong: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": "m", "messages": ASK, **wrong})
    assert refused.value.type == "invalid_request_error"
    assert param is None or refused.value.param == param


def test_keys_and_models_can_be_given() -> None:
    profile = EndpointProfile(models=("one",), keys=("simulated-a",), time_scale=1000)
    with serving(profile) as endpoint, client_of(endpoint) as client:
        client.responses.create(model="one", input="x")
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model="two", input="x")
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("two")
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="another").responses.create(model="one", input="x")
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="one", input="x")


def test_a_long_prompt_is_cached_by_its_prefix(client: openai.OpenAI) -> None:
    long: Any = [{"role": "system", "content": "Rules. " * 1_000}, *ASK]

    def cached() -> int | None:
        usage = client.chat.completions.create(model="m", messages=long, max_tokens=1).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        return usage.prompt_tokens_details.cached_tokens

    assert cached() == 0
    assert cached() == 1_664  # whole blocks of 128 of about 1,760 tokens
    long.append({"role": "user", "content": "More."})
    assert cached() == 1_664
