"""Answers in the format of the responses API, and the items of earlier ones."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.llm.answers import Answer, Piece
from harness.llm.formats import STREAM_FAILURE, event
from harness.llm.meter import MeteredRequest
from harness.llm.request import ModelRequest, RefusedRequest

_ECHOED = ("instructions", "max_output_tokens", "previous_response_id", "temperature", "top_p", "user")
_MOST_STORED = 10_000


class ResponsesFormat:
    """One answer as a response, or as its events."""

    def __init__(self, request: ModelRequest, answer: Answer, record: MeteredRequest, created: int) -> None:
        self._answer, self._record, self._request, self._created = answer, record, request, created
        self._sequence = 0
        self._begun: list[str] = []
        self._open: Piece | None = None

    @property
    def id(self) -> str:
        """The id of the response."""
        return f"resp_{self._answer.id}"

    def opening(self) -> bytes:
        response = self._response("in_progress", [], None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def pieces(self, piece: Piece) -> bytes:
        if piece.call is None:
            before = b"" if self._open is not None else self._begin_item(piece)
            return before + self._event(
                "response.output_text.delta", **self._place(), content_index=0, delta=piece.text, logprobs=[]
            )
        if piece.begins:
            return self._end_item() + self._begin_item(piece)
        return self._event("response.function_call_arguments.delta", **self._place(), delta=piece.text)

    def closing(self) -> bytes:
        events = self._end_item()
        body = self.body()
        return events + self._event(f"response.{body['status']}", response=body)

    def failure(self) -> bytes:
        return self._event("error", **STREAM_FAILURE)

    def body(self) -> dict[str, Any]:
        status = "completed" if self._answer.finish in ("stop", "tool_calls") else "incomplete"
        reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(self._answer.finish)
        response = self._response(status, self.output(), self._usage())
        return {**response, "incomplete_details": {"reason": reason} if reason else None}

    def output(self) -> list[dict[str, Any]]:
        """The items of the answer: one message, or function calls."""
        status = "incomplete" if self._answer.finish in ("length", "content_filter") else "completed"
        if self._answer.calls:
            return [self._call(number, call.arguments, status) for number, call in self._calls()]
        return [self._message([self._text(self._answer.text)], status)] if self._answer.pieces else []

    def _begin_item(self, piece: Piece) -> bytes:
        self._open = piece
        if piece.call is None:
            self._begun.append(f"msg_{self._answer.id}")
            item = self._message([], "in_progress")
            place = self._place()
            added = self._event("response.output_item.added", output_index=place["output_index"], item=item)
            return added + self._event(
                "response.content_part.added", **place, content_index=0, part=self._text("")
            )
        self._begun.append(self._call_item(piece.call))
        item = self._call(piece.call, "", "in_progress")
        return self._event("response.output_item.added", output_index=len(self._begun) - 1, item=item)

    def _end_item(self) -> bytes:
        if self._open is None:
            return b""
        place, number = self._place(), self._open.call
        self._open = None
        item = self.output()[0 if number is None else number]
        if number is None:
            (part,) = item["content"]
            events = self._event(
                "response.output_text.done", **place, content_index=0, text=part["text"], logprobs=[]
            )
            events += self._event("response.content_part.done", **place, content_index=0, part=part)
        else:
            events = self._event(
                "response.function_call_arguments.done",
                **place,
                name=item["name"],
                arguments=item["arguments"],
            )
        return events + self._event(
            "response.output_item.done", output_index=place["output_index"], item=item
        )

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._begun[-1], "output_index": len(self._begun) - 1}

    def _event(self, kind: str, /, **data: Any) -> bytes:
        self._sequence += 1
        return event({"type": kind, "sequence_number": self._sequence - 1, **data}, kind)

    def _calls(self) -> Sequence[tuple[int, Any]]:
        return list(enumerate(self._answer.given_calls))

    def _call_item(self, number: int) -> str:
        return f"fc_{self._answer.id}_{number}"

    def _call(self, number: int, arguments: str, status: str) -> dict[str, Any]:
        call = self._answer.calls[number]
        return {
            "type": "function_call",
            "id": self._call_item(number),
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments,
            "status": status,
        }

    def _message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        identity = f"msg_{self._answer.id}"
        return {"type": "message", "id": identity, "role": "assistant", "status": status, "content": content}

    def _text(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _response(
        self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None
    ) -> dict[str, Any]:
        body = self._request.body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._request.model,
            "output": output,
            **{name: body.get(name) for name in _ECHOED},
            "metadata": body.get("metadata") or {},
            "parallel_tool_calls": self._request.parallel,
            "reasoning": {"effort": None, "summary": None},
            "store": body.get("store") is not False,
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "truncation": body.get("truncation") or "disabled",
            "usage": usage,
        }

    def _usage(self) -> dict[str, Any]:
        record, tokens = self._record, self._answer.tokens
        return {
            "input_tokens": record.prompt_tokens,
            "input_tokens_details": {"cached_tokens": record.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": record.prompt_tokens + tokens,
        }


@dataclass(slots=True)
class StoredResponses:
    """The items of the last 10,000 responses, or of fewer if their requests are long, for `previous_response_id`."""

    most_characters: int = 256 * 2**20
    _items: OrderedDict[str, tuple[int, Sequence[Mapping[str, Any]]]] = field(default_factory=OrderedDict)
    _characters: int = 0

    def before(self, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """The items before those of a request; raises `RefusedRequest` for an unknown previous response."""
        previous = body.get("previous_response_id")
        if previous is None:
            return []
        if not isinstance(previous, str) or previous not in self._items:
            raise RefusedRequest(
                400,
                f"Previous response with id '{str(previous)[:80]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return self._items[previous][1]

    def store(
        self, body: Mapping[str, Any], made: ResponsesFormat, before: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keep the items of a response after those `before` it, unless the request says `store: false`."""
        if body.get("store") is False:
            return
        given = body.get("input", [])
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        new = [*items, *made.output()]
        # The items before it are shared with the response that they are from.
        characters = len(json.dumps(new))
        # A step that is asked for again has the same answer.
        self._characters += characters - self._items.pop(made.id, (0, ()))[0]
        self._items[made.id] = characters, [*before, *new]
        while len(self._items) > _MOST_STORED or (
            len(self._items) > 1 and self._characters > self.most_characters
        ):
            self._characters -= self._items.popitem(last=False)[1][0]
