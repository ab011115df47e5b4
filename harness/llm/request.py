"""A request to a model, from either API, and refusals in the format of OpenAI's errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from harness.errors import UsageError
from harness.llm.disturbances import EndpointFault


class Api(StrEnum):
    """The API that a request came in by."""

    CHAT = "chat"
    RESPONSES = "responses"


class RefusedRequest(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLabels:
    """What a request says about itself beside the model's input.

    `activity` and `step` say what it is for. `fault` asks for a fault. The numbers of tokens replace those of the
    texts, so that a load test need not send long prompts. Each comes from a header, else from `metadata`; activity and
    step may also be in `user`, as ACTIVITY/STEP. `timed` streams have a comment with its due time in each event.
    """

    activity: str | None = None
    step: str | None = None
    fault: EndpointFault | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    timed: bool = False

    @classmethod
    def of(cls, headers: Mapping[str, str], body: Mapping[str, Any]) -> RequestLabels:
        """The labels of a request; raises `RefusedRequest` for a wrong one."""
        metadata = body.get("metadata")
        more = metadata if isinstance(metadata, Mapping) else {}
        user = body.get("user") or body.get("safety_identifier")
        activity, _, step = user.partition("/") if isinstance(user, str) else ("", "", "")
        found = {name: headers.get(header) or more.get(name) for name, header in _HEADERS.items()}
        numbers = {name: _whole(name, found[name]) for name in _NUMBERS}
        for name in ("activity", "step"):
            if len(str(found[name] or user or "")) > _LONGEST_LABEL:
                raise RefusedRequest(
                    400, f"Invalid '{name}': longer than {_LONGEST_LABEL} characters.", param=name
                )
        fault = found["fault"]
        try:
            return cls(
                activity=encodable(str(found["activity"] or activity)) or None,
                step=encodable(str(found["step"] or step)) or None,
                fault=EndpointFault.of(str(fault)) if fault else None,
                timed=headers.get("X-Simulated-Timing") == "1",
                **numbers,
            )
        except UsageError as error:
            raise RefusedRequest(400, str(error), param="fault") from None


_HEADERS = {
    "activity": "X-Activity-Id",
    "step": "X-Activity-Step",
    "fault": "X-Simulated-Fault",
    "prompt_tokens": "X-Simulated-Prompt-Tokens",
    "cached_tokens": "X-Simulated-Cached-Tokens",
    "completion_tokens": "X-Simulated-Completion-Tokens",
}
_NUMBERS = ("prompt_tokens", "cached_tokens", "completion_tokens")
_LONGEST_NUMBER = 9
_LONGEST_LABEL = 200
_LONGEST_ANSWER = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedTool:
    """A function that the model may call, and the JSON schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRequest:
    """What a model is asked for.

    `prompt` is all input as one text. `conversation` is the part up to the last message of the user, after which
    `rounds` answers with tool calls have followed. `forced` says that the answer has to call a tool, `schema` which
    JSON its text has to be (`{}`: any object).
    """

    api: Api
    model: str
    prompt: str
    conversation: str
    rounds: int
    tools: tuple[OfferedTool, ...]
    forced: bool
    parallel: bool
    most_tokens: int | None
    stream: bool
    stream_usage: bool
    schema: Mapping[str, Any] | None
    labels: RequestLabels
    body: Mapping[str, Any] = field(repr=False)


def chat_request(body: Mapping[str, Any], labels: RequestLabels) -> ModelRequest:
    """A request of the chat completions API."""
    messages = _items(body, "messages")
    if body.get("n", 1) not in (1, None):
        raise RefusedRequest(400, "The simulated endpoint gives one choice; leave n out.", param="n")
    form = _mapping(body, "response_format")
    kind, schema = form.get("type"), _mapping(form, "json_schema").get("schema")
    return _request(
        Api.CHAT,
        body,
        labels,
        items=messages,
        tools=[_mapping(tool, "function") for tool in _list(body, "tools") if _is_function(tool)],
        most_tokens=_limit(body, "max_completion_tokens") or _limit(body, "max_tokens"),
        schema=_schema(kind, schema),
    )


def responses_request(
    body: Mapping[str, Any], labels: RequestLabels, earlier: Sequence[Mapping[str, Any]]
) -> ModelRequest:
    """A request of the responses API, after the `earlier` items of its conversation."""
    given = body.get("input", [])
    items = [{"role": "user", "content": given}] if isinstance(given, str) else _items(body, "input")
    if body.get("conversation") is not None or body.get("background"):
        raise RefusedRequest(
            400, "The simulated endpoint has no conversations and no background; use previous_response_id."
        )
    form = _mapping(_mapping(body, "text"), "format")
    return _request(
        Api.RESPONSES,
        body,
        labels,
        items=[*earlier, *items],
        tools=[tool for tool in _list(body, "tools") if _is_function(tool)],
        most_tokens=_limit(body, "max_output_tokens"),
        schema=_schema(form.get("type"), form.get("schema")),
    )


def _request(
    api: Api,
    body: Mapping[str, Any],
    labels: RequestLabels,
    *,
    items: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    most_tokens: int | None,
    schema: Mapping[str, Any] | None,
) -> ModelRequest:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedRequest(400, "You must provide a model parameter.", param="model")
    last = max((n for n, item in enumerate(items) if item.get("role") == "user"), default=-1) + 1
    beginning = [json.dumps(tools), str(body.get("instructions") or "")]
    offered, forced = _chosen(body.get("tool_choice"), tools)
    return ModelRequest(
        api=api,
        model=model,
        prompt=encodable("\n".join([*beginning, *map(_item_text, items)])),
        conversation=encodable("\n".join([*beginning, *map(_item_text, items[:last])])),
        rounds=_rounds(items[last:]),
        tools=offered,
        forced=forced,
        parallel=body.get("parallel_tool_calls") is not False,
        most_tokens=most_tokens,
        stream=bool(body.get("stream")),
        stream_usage=bool(_mapping(body, "stream_options").get("include_usage")),
        schema=schema,
        labels=labels,
        body=body,
    )


def _rounds(items: Sequence[Mapping[str, Any]]) -> int:
    """Answers with tool calls: messages with `tool_calls`, or runs of function calls that follow each other."""
    calling = [bool(item.get("tool_calls")) or item.get("type") == "function_call" for item in items]
    starts = [now and not before for before, now in zip([False, *calling], calling, strict=False)]
    return sum(starts)


def _chosen(choice: object, tools: Sequence[Mapping[str, Any]]) -> tuple[tuple[OfferedTool, ...], bool]:
    """The tools that the answer may call, and whether it has to call one."""
    for tool in tools:
        if not isinstance(tool.get("name"), str):
            raise RefusedRequest(400, "Missing required parameter: the name of a function.", param="tools")
    offered = tuple(OfferedTool(name=tool["name"], parameters=_mapping(tool, "parameters")) for tool in tools)
    if choice == "none":
        return (), False
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = _mapping(choice, "allowed_tools") or choice
        names = [
            tool.get("name") or _mapping(tool, "function").get("name") for tool in _list(allowed, "tools")
        ]
        return tuple(tool for tool in offered if tool.name in names), allowed.get("mode") == "required"
    if isinstance(choice, Mapping):
        name = choice.get("name") or _mapping(choice, "function").get("name")
        named = tuple(tool for tool in offered if tool.name == name)
        if not named:
            raise RefusedRequest(
                400, f"Tool choice {str(name)[:64]!r} not found in 'tools'.", param="tool_choice"
            )
        return named, True
    return offered, choice == "required"


def _is_function(tool: Mapping[str, Any]) -> bool:
    """Whether the simulated model can call it; hosted and custom tools are ignored."""
    return bool(tool.get("type", "function") == "function")


def _item_text(item: Mapping[str, Any]) -> str:
    """The text of a message or item; each part that is no text counts as one line of JSON."""
    content = item.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        texts = [
            part if isinstance(part, str) else json.dumps(content[n])[:400] for n, part in enumerate(parts)
        ]
        content = "\n".join(texts)
    rest = {key: item[key] for key in ("name", "tool_calls", "arguments", "output") if item.get(key)}
    return f"{item.get('role') or item.get('type')}\n{content or ''}{json.dumps(rest) if rest else ''}"


def _schema(kind: object, schema: object) -> Mapping[str, Any] | None:
    if kind == "json_schema":
        return schema if isinstance(schema, Mapping) else {}
    return {} if kind == "json_object" else None


def _items(body: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """A list that has to be there and to have entries."""
    if body.get(name) is None:
        raise RefusedRequest(
            400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    found = _list(body, name)
    if not found:
        raise RefusedRequest(
            400, f"Invalid '{name}': empty array. Expected at least 1.", param=name, code="empty_array"
        )
    return found


def _list(body: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = body.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise RefusedRequest(
            400, f"Invalid type for '{name}': expected an array of objects.", param=name, code="invalid_type"
        )
    return found


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise RefusedRequest(
            400, f"Invalid type for '{name}': expected an object.", param=name, code="invalid_type"
        )
    return found


def _limit(body: Mapping[str, Any], name: str) -> int | None:
    found = body.get(name)
    if found is None:
        return None
    if type(found) is not int or found < 1:
        raise RefusedRequest(
            400, f"Invalid '{name}': expected an integer of 1 or more.", param=name, code="invalid_value"
        )
    return found


def _whole(name: str, given: object) -> int | None:
    if given is None:
        return None
    text = str(given)
    if not text.isascii() or not text.isdecimal() or len(text) > _LONGEST_NUMBER:
        raise RefusedRequest(400, f"Invalid '{name}': expected a whole number.", param=name)
    if name == "completion_tokens" and int(text) > _LONGEST_ANSWER:
        raise RefusedRequest(400, f"Invalid '{name}': more than {_LONGEST_ANSWER} tokens.", param=name)
    return int(text)


def encodable(text: str) -> str:
    """The text without what UTF-8 cannot have: single surrogates, which JSON and headers may bring."""
    return text.encode("utf-8", "replace").decode("utf-8")
