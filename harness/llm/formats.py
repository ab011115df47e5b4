"""What the two APIs have in common in the format of an answer, and events of server-sent streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from harness.llm.answers import Piece

STREAM_FAILURE = {"code": "server_error", "message": "The stream failed on purpose.", "param": None}
"""The error in the middle of a stream."""

DUE_COMMENT = b": due "
"""Begins the comment of a server-sent event that has its due time, in seconds of CLOCK_MONOTONIC."""


class AnswerFormat(Protocol):
    """An answer in the format of one API, whole or as the events of a stream."""

    def opening(self) -> bytes:
        """The events before the first token."""

    def pieces(self, piece: Piece) -> bytes:
        """The event of one piece, or of several that were merged."""

    def closing(self) -> bytes:
        """The events after the last token."""

    def failure(self) -> bytes:
        """The event that ends a failed stream."""

    def body(self) -> dict[str, Any]:
        """The whole answer."""


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
