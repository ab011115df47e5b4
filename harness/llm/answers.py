"""The answer of the simulated model to a request: text, tool calls or JSON, as a function of a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from harness.draws import seeded
from harness.llm.disturbances import EndpointFault
from harness.llm.profile import EndpointProfile
from harness.llm.request import ModelRequest
from harness.llm.schema_values import schema_value
from harness.llm.tokens import token_count
from harness.llm.words import words

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer that is generated at once: text, or a part of the tool call number `call`.

    The first piece of a call is its name, with `begins`; the others are parts of its arguments.
    """

    text: str
    tokens: int
    call: int | None = None
    begins: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """One call of a tool that an answer asks for."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer. `finish` is stop, length, tool_calls or content_filter, as in the chat completions API."""

    id: str
    pieces: Sequence[Piece]
    calls: Sequence[ToolCall]
    finish: str

    @property
    def text(self) -> str:
        """The text without tool calls."""
        return "".join(piece.text for piece in self.pieces if piece.call is None)

    @property
    def tokens(self) -> int:
        """The completion tokens."""
        return sum(piece.tokens for piece in self.pieces)

    @property
    def given_calls(self) -> Sequence[ToolCall]:
        """The calls with the arguments that the pieces have: a limit of tokens may have cut them."""
        given: dict[int, str] = {}
        for piece in self.pieces:
            if piece.call is not None:
                given[piece.call] = given.get(piece.call, "") + ("" if piece.begins else piece.text)
        return [replace(self.calls[number], arguments=text) for number, text in given.items()]


def planned_answer(
    request: ModelRequest, profile: EndpointProfile, rng: Random, fault: EndpointFault | None = None
) -> Answer:
    """The answer that the draws of `rng` give; `fault` may make its content wrong."""
    identity = f"{rng.getrandbits(96):024x}"
    length = request.labels.completion_tokens or max(1, profile.output_tokens.whole(rng))
    calls = _calls(request, profile, rng)
    if fault is EndpointFault.UNKNOWN_TOOL:
        calls = [ToolCall(id=_call_id(rng), name="tool_that_was_not_offered", arguments="{}")]
    if fault is EndpointFault.BAD_ARGUMENTS:
        calls = [replace(call, arguments=call.arguments[:-1] + ',"') for call in calls]
    if fault is EndpointFault.EMPTY:
        return Answer(id=identity, pieces=(), calls=(), finish="stop")
    if calls:
        pieces = list(_call_pieces(calls))
    elif request.schema is not None:
        pieces = _split(json.dumps(schema_value(request.schema, rng)))
    else:
        pieces = [Piece(word, 1) for word in words(length, rng)]
        pieces[0] = replace(pieces[0], text=pieces[0].text.strip().capitalize())
    finish = "tool_calls" if calls else "stop"
    if fault is EndpointFault.CONTENT_FILTER:
        pieces, finish = pieces[: max(1, len(pieces) // 2)], "content_filter"
    if request.most_tokens is not None and sum(piece.tokens for piece in pieces) > request.most_tokens:
        pieces, finish = _shortened(pieces, request.most_tokens), "length"
    return Answer(id=identity, pieces=pieces, calls=calls, finish=finish)


def _calls(request: ModelRequest, profile: EndpointProfile, rng: Random) -> list[ToolCall]:
    """The tool calls of this answer; the conversation's seed says how many rounds of them there are."""
    number = max(1, profile.tool_calls.whole(rng)) if request.parallel else 1
    rounds = profile.tool_rounds.whole(seeded(profile.seed, "rounds", request.conversation))
    if not request.tools or (request.rounds >= rounds and not request.forced):
        return []
    tools = [rng.choice(request.tools) for _ in range(number)]
    return [
        ToolCall(id=_call_id(rng), name=tool.name, arguments=json.dumps(schema_value(tool.parameters, rng)))
        for tool in tools
    ]


def _call_id(rng: Random) -> str:
    return f"call_{rng.getrandbits(96):024x}"


def _call_pieces(calls: Sequence[ToolCall]) -> Iterator[Piece]:
    for number, call in enumerate(calls):
        yield Piece(call.name, token_count(call.name), number, begins=True)
        yield from (replace(piece, call=number) for piece in _split(call.arguments))


def _split(text: str) -> list[Piece]:
    parts = range(0, len(text), _CHARACTERS_PER_TOKEN)
    return [Piece(text[begin : begin + _CHARACTERS_PER_TOKEN], 1) for begin in parts]


def _shortened(pieces: Sequence[Piece], most: int) -> list[Piece]:
    kept: list[Piece] = []
    for piece in pieces:
        most -= piece.tokens
        if most < 0:
            break
        kept.append(piece)
    return kept
