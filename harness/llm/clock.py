"""Simulated time of the endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from harness.llm.meter import Meter

# Shorter waits would cost more than they delay.
_SHORTEST_WAIT = 0.000_5


@dataclass(slots=True)
class EndpointClock:
    """Seconds since the start of the endpoint, of which `scale` pass in a real one."""

    scale: float
    meter: Meter
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.loop.time()

    def now(self) -> float:
        """The simulated time."""
        return (self.loop.time() - self._start) * self.scale

    def real_time(self, simulated: float) -> float:
        """The time of the event loop (CLOCK_MONOTONIC, in seconds) at a simulated time."""
        return self._start + simulated / self.scale

    async def until(self, due: float) -> bool:
        """Wait until a simulated time; returns whether there was anything to wait for."""
        delay = self.real_time(due) - self.loop.time()
        if delay <= _SHORTEST_WAIT:
            return False
        await asyncio.sleep(delay)
        return True

    def writing(self, due: float, held: float) -> None:
        """An event that was due at a simulated time is written now; `held` real seconds of its delay do not count."""
        self.meter.lateness.add(self.loop.time() - self.real_time(due) - held)
