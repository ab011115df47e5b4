"""What counts as lateness of the endpoint, and what as slowness of its client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from random import Random
from typing import Any
from unittest.mock import MagicMock

from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request

from harness.llm import EndpointProfile, LognormalDistribution
from harness.llm.answers import planned_answer
from harness.llm.chat import ChatFormat
from harness.llm.clock import EndpointClock
from harness.llm.delivery import AnswerDelivery
from harness.llm.disturbances import Trouble
from harness.llm.meter import Meter
from harness.llm.request import RequestLabels, chat_request

EVENTS = 10
PROFILE = EndpointProfile(
    first_token=LognormalDistribution(0.001, 0.001),
    per_token=LognormalDistribution(0.001, 0.001),
    output_tokens=LognormalDistribution(EVENTS, EVENTS),
)


class StallingClock(EndpointClock):
    """A clock whose event loop stalls once, before the second event, however busy the machine is."""

    def __init__(self, scale: float, meter: Meter, stall: float) -> None:
        super().__init__(scale, meter)
        self._stalls = iter([0.0, stall])

    async def until(self, due: float) -> bool:
        waited = await super().until(due)
        time.sleep(next(self._stalls, 0.0))  # noqa: ASYNC251 - the stall that the meter has to see
        return waited


def late_events(writes: Sequence[float], stall: float = 0.0) -> int:
    """How many events count as later than 0.15 s; each write takes so long, and the loop stalls once."""

    async def deliver() -> Meter:
        meter = Meter()
        labels: Any = dict.fromkeys(("activity", "step", "client_id"))
        record = meter.begin(id="r", key="k", api="chat", model="m", stream=True, **labels)
        asked = chat_request({"model": "m", "messages": [{"role": "user"}]}, RequestLabels())
        answer = planned_answer(asked, PROFILE, Random(1))
        writer, taking = MagicMock(spec=AbstractStreamWriter), iter(writes)

        async def write(_data: bytes) -> None:
            if seconds := next(taking, 0):
                await asyncio.sleep(seconds)

        writer.write = write
        delivery = AnswerDelivery(
            request=make_mocked_request("POST", "/", writer=writer),
            profile=PROFILE,
            clock=StallingClock(1.0, meter, stall),
            record=record,
            answer=answer,
            format=ChatFormat(asked, answer, record, 0),
            trouble=Trouble(),
            rng=Random(1),
            headers={},
        )
        await delivery.send(stream=True)
        return meter

    counts = asyncio.run(deliver()).lateness._counts
    assert counts.total() == EVENTS + 1
    return sum(number for step, number in counts.items() if step > 1_500)


def test_a_client_that_does_not_read_is_not_the_lateness_of_the_endpoint() -> None:
    assert late_events([0.3]) == 0


def test_an_event_loop_that_stalls_is() -> None:
    assert late_events([], stall=0.3) > 0
