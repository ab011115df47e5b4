"""How one answer reaches its client: in time, whole or as a stream, cut or byte by byte."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from aiohttp import web

from harness.llm.answers import Answer, Piece
from harness.llm.clock import EndpointClock
from harness.llm.disturbances import EndpointFault, Trouble
from harness.llm.formats import DUE_COMMENT, AnswerFormat, merged
from harness.llm.meter import MeteredRequest, RequestOutcome, generated
from harness.llm.profile import Billing, EndpointProfile

_GATEWAY_PAGE = b"<html><body><h1>Bad gateway</h1>The simulated endpoint answered with a page.</body></html>"
_BROKEN_EVENT = b'data: {"id": "chatcmpl-\n\n'
_ENDS_EARLY = (EndpointFault.CUT, EndpointFault.MALFORMED, EndpointFault.STREAM_ERROR)


@dataclass(slots=True)
class AnswerDelivery:
    """The delivery of one answer. `record` has at every moment what is billed so far."""

    request: web.Request
    profile: EndpointProfile
    clock: EndpointClock
    record: MeteredRequest
    answer: Answer
    format: AnswerFormat
    trouble: Trouble
    rng: Random
    headers: dict[str, str]
    timed: bool = False
    # Real seconds that the client has held up the stream, by not reading, since the stream was last in time.
    held: float = 0.0
    # The simulated time at which each piece is generated.
    dues: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        begin, slow, profile = self.clock.now(), self.trouble.slowdown, self.profile
        due = begin + slow * profile.first_token.draw(self.rng)
        for piece in self.answer.pieces:
            if self.dues:
                due += slow * piece.tokens * profile.per_token.draw(self.rng)
            self.dues.append(due)

    async def send(self, *, stream: bool) -> web.StreamResponse:
        """Send the answer; returns the response, whose outcome is in the record."""
        fault = self.trouble.fault
        if fault is EndpointFault.HANG:
            # Nothing is generated, so nothing is billed.
            self.record.prompt_tokens = self.record.cached_tokens = 0
            self.dues = [math.inf for _ in self.dues]
            await asyncio.Event().wait()
        if fault is EndpointFault.NOT_JSON:
            await self.clock.until(self._end())
            self.record.completion_tokens = self.answer.tokens
            return web.Response(body=_GATEWAY_PAGE, content_type="text/html", headers=self.headers)
        return await (self._stream() if stream else self._whole())

    def interrupted(self) -> None:
        """Bill what the client pays for when its connection ends now."""
        now, record = self.clock.now(), self.record
        whole = self.profile.abandoned is Billing.WHOLE and self.trouble.fault is not EndpointFault.HANG
        pieces = len(self.dues) if whole else sum(due <= now for due in self.dues)
        record.completion_tokens = max(record.completion_tokens, generated(self.answer, pieces))

    def _end(self) -> float:
        return self.dues[-1] if self.dues else self.clock.now()

    async def _whole(self) -> web.StreamResponse:
        await self.clock.until(self._end())
        self.record.completion_tokens = self.answer.tokens
        data = json.dumps(self.format.body()).encode()
        if self.trouble.fault is EndpointFault.MALFORMED:
            data = data[: len(data) // 2]
        headers = {**self.headers, "Content-Type": "application/json", "Content-Length": str(len(data))}
        response = web.StreamResponse(headers=headers)
        await response.prepare(self.request)
        if self.trouble.fault is EndpointFault.CUT:
            await response.write(data[: len(data) // 2])
            return self._cut(response)
        await self._write(response, data, self._end())
        self.record.sent_tokens = self.answer.tokens
        return response

    async def _stream(self) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers={**self.headers, **headers})
        await response.prepare(self.request)
        if opening := self.format.opening():
            await self._write(response, opening, self.clock.now())
        last = self._last_pieces()
        for pieces, due, piece in self._events():
            if await self.clock.until(due):
                self.held = 0.0
            self.record.completion_tokens += piece.tokens
            data = self.format.pieces(piece)
            if pieces >= last:
                data = self._last_event(data)
            await self._write(response, data, due)
            self.record.sent_tokens += piece.tokens
            if pieces >= last:
                return self._cut(response)
        await self._write(response, self.format.closing(), self._end())
        return response

    def _events(self) -> Iterator[tuple[int, float, Piece]]:
        """Each event of the stream: the number of pieces up to its end, its simulated time, and its piece."""
        for pieces, piece in merged(self.answer.pieces, self.profile.tokens_per_event):
            yield pieces, self.dues[pieces - 1], piece

    def _last_pieces(self) -> float:
        """The number of pieces after which the stream ends too early; infinite if it does not."""
        if self.trouble.fault not in _ENDS_EARLY:
            return math.inf
        return self.rng.randint(1, max(1, len(self.answer.pieces) - 1))

    def _last_event(self, data: bytes) -> bytes:
        """What a stream that ends too early has in the place of its last event."""
        if self.trouble.fault is EndpointFault.STREAM_ERROR:
            return self.format.failure()
        return _BROKEN_EVENT if self.trouble.fault is EndpointFault.MALFORMED else data

    def _cut(self, response: web.StreamResponse) -> web.StreamResponse:
        """End the answer too early: the connection too, unless an event has said that the stream ends."""
        if self.request.transport is not None and self.trouble.fault is EndpointFault.CUT:
            self.request.transport.close()
        self.record.outcome = RequestOutcome.CUT
        return response

    async def _write(self, response: web.StreamResponse, data: bytes, due: float) -> None:
        if self.trouble.fault is not EndpointFault.SLOW_LORIS:
            if self.timed:
                data = b"%s%.6f\n%s" % (DUE_COMMENT, self.clock.real_time(due), data)
            self.clock.writing(due, self.held)
            before = self.clock.loop.time()
            await response.write(data)
            self.held += self.clock.loop.time() - before
            return
        for position in range(len(data)):
            await response.write(data[position : position + 1])
            await self.clock.until(self.clock.now() + self.profile.loris_interval)
