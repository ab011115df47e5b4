"""What the two APIs have in common in the format of an answer, and events of server-sent streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from harness.llm.answers import Answer, Piece
from harness.llm.meter import MeteredRequest
from harness.llm.request import ModelRequest


class AnswerFormat(Protocol):
    """An answer in the format of one API, whole or as the events of a stream."""

    def opening(self) -> bytes:
        """The events before the first token."""

    def pieces(self, piece: Piece) -> bytes:
        """The event of one piece, or of several that were merged."""

    def closing(self) -> bytes:
        """The events after the last token."""

    def body(self) -> dict[str, Any]:
        """The whole answer."""


class FormatMaker(Protocol):
    """What makes the format of an answer; the usage is that of `record`."""

    def __call__(
        self, request: ModelRequest, answer: Answer, record: MeteredRequest, created: int
    ) -> AnswerFormat:
        """The format of one answer; `created` is its time, in seconds since the epoch."""


def event(data: object, name: str | None = None) -> bytes:
    """One server-sent event with JSON data."""
    text = json.dumps(data, separators=(",", ":"))
    return (f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n").encode()


def merged(pieces: Sequence[Piece], tokens: int) -> Iterator[tuple[int, Piece]]:
    """Pieces of the same kind merged to about `tokens` tokens each, with the number of pieces up to their end."""
    waiting: list[Piece] = []
    for number, piece in enumerate(pieces):
        if waiting and (piece.begins or piece.call != waiting[0].call or _size(waiting) >= tokens):
            yield number, _joined(waiting)
            waiting = []
        waiting.append(piece)
        if piece.begins:
            yield number + 1, piece
            waiting = []
    if waiting:
        yield len(pieces), _joined(waiting)


def _size(pieces: Sequence[Piece]) -> int:
    return sum(piece.tokens for piece in pieces)


def _joined(pieces: Sequence[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    return Piece("".join(piece.text for piece in pieces), _size(pieces), pieces[0].call)
