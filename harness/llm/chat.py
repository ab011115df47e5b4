"""Answers in the format of the chat completions API."""

from __future__ import annotations

import json
from typing import Any

from harness.llm.answers import Answer, Piece
from harness.llm.formats import STREAM_FAILURE, event
from harness.llm.meter import MeteredRequest
from harness.llm.request import ModelRequest

_DONE = b"data: [DONE]\n\n"


class ChatFormat:
    """One answer as a chat completion, or as its chunks."""

    def __init__(self, request: ModelRequest, answer: Answer, record: MeteredRequest, created: int) -> None:
        self._answer, self._record, self._request = answer, record, request
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": request.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }
        # Only the text differs between most chunks, so the rest is encoded once.
        mark = "\0"
        before, after = self._chunk({"content": mark}).split(json.dumps(mark).encode())
        self._before, self._after = before, after
        content = None if answer.calls else ""
        self._role = self._chunk({"role": "assistant", "content": content, "refusal": None})

    def opening(self) -> bytes:
        return b""

    def pieces(self, piece: Piece) -> bytes:
        # The role comes with the first token and not before, as the time to the first chunk is often measured.
        role, self._role = self._role, b""
        return role + self._delta(piece)

    def closing(self) -> bytes:
        last = self._role + self._chunk({}, self._answer.finish)
        if self._request.stream_usage:
            last += event({**self._head, "choices": [], "usage": self._usage()})
        return last + _DONE

    def failure(self) -> bytes:
        return event({"error": {"type": "server_error", **STREAM_FAILURE}})

    def body(self) -> dict[str, Any]:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self._answer.given_calls
        ]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls else self._answer.text,
            "refusal": None,
            "annotations": [],
        }
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._answer.finish}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}

    def _delta(self, piece: Piece) -> bytes:
        if piece.call is None:
            return self._before + json.dumps(piece.text).encode() + self._after
        function = {"name": piece.text, "arguments": ""} if piece.begins else {"arguments": piece.text}
        call: dict[str, Any] = {"index": piece.call, "function": function}
        if piece.begins:
            call = {**call, "id": self._answer.calls[piece.call].id, "type": "function"}
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self._request.stream_usage else {}
        return event({**self._head, "choices": [choice], **usage})

    def _usage(self) -> dict[str, Any]:
        record = self._record
        return {
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": self._answer.tokens,
            "total_tokens": record.prompt_tokens + self._answer.tokens,
            "prompt_tokens_details": {"cached_tokens": record.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
