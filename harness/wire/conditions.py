"""Conditions of a link, and the stream that forwards one direction under them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random


class Direction(Enum):
    """A direction of a link."""

    TO_SERVER = auto()
    TO_CLIENT = auto()

    @property
    def opposite(self) -> Direction:
        """The other direction."""
        return Direction.TO_CLIENT if self is Direction.TO_SERVER else Direction.TO_SERVER


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How one direction of a link carries bytes; the default carries them at once and unchanged.

    `latency` and `jitter` are seconds: each byte is late by `latency` and up to `jitter` more, and never overtakes an
    earlier one. `bandwidth` is in bytes a second. `slice_bytes` is the most that arrives at once; `slice_seconds` pass
    between two slices. `blocked` lets nothing pass, as a network that drops every packet: what was sent meanwhile
    arrives once this ends. `slow_close` is how many seconds the end of a connection is late.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    slice_bytes: int | None = None
    slice_seconds: float = 0.0
    blocked: bool = False
    slow_close: float = 0.0


CLEAR = Conditions()

# The most bytes that wait in a stream before its sender has to wait too.
_MOST_WAITING_BYTES = 1 << 20


class Stream:
    """One direction of one connection. All methods run on the loop of the wire.

    `full` is called with True when too many bytes wait, and with False when there is space again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        write: Callable[[bytes], None],
        end: Callable[[], None],
        full: Callable[[bool], None],
        random: Random,
    ) -> None:
        self._loop = loop
        self._write = write
        self._end = end
        self._full = full
        self._random = random
        self._conditions = CLEAR
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._waiting_bytes = 0
        self._latest = self._free = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.is_held = False

    def put(self, conditions: Conditions) -> None:
        """Change the conditions, also for what waits because the stream was blocked."""
        self._conditions = conditions
        self._carry()

    def send(self, data: bytes) -> None:
        """Forward bytes under the present conditions."""
        if self._conditions is CLEAR and not self._waiting and not self.is_held:
            self._write(data)
            return
        size = self._conditions.slice_bytes or len(data)
        for first in range(0, len(data), size):
            piece = data[first : first + size]
            self._waiting.append((self._due(len(piece)), piece))
            self._count(len(piece))
        self._carry()

    def finish(self) -> None:
        """Forward the end of the connection after all bytes."""
        if self._conditions is CLEAR and not self._waiting and not self.is_held:
            self._end()
            return
        due = max(self._latest, self._loop.time()) + self._conditions.slow_close
        self._waiting.append((due, None))
        self._carry()

    def hold(self) -> None:
        """Keep everything that is sent from now on, until `release` or `drop`."""
        self.is_held = True

    def release(self) -> None:
        """Forward what was held."""
        self.is_held = False
        self._carry()

    def drop(self) -> None:
        """Forget what waits, and stop."""
        self._waiting.clear()
        self.is_held = True
        if self._timer is not None:
            self._timer.cancel()

    def _due(self, length: int) -> float:
        conditions, now = self._conditions, self._loop.time()
        sent = max(now, self._free)
        if conditions.bandwidth:
            sent = self._free = sent + length / conditions.bandwidth
        late = conditions.latency + (self._random.random() * conditions.jitter if conditions.jitter else 0.0)
        apart = self._latest + conditions.slice_seconds if conditions.slice_bytes else self._latest
        self._latest = max(apart, sent + late)
        return self._latest

    def _carry(self) -> None:
        """Forward what is due, and come again for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and not self.is_held and not self._conditions.blocked:
            due, data = self._waiting[0]
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._carry)
                return
            self._waiting.popleft()
            if data is None:
                self._end()
            else:
                self._count(-len(data))
                self._write(data)

    def _count(self, change: int) -> None:
        before = self._waiting_bytes > _MOST_WAITING_BYTES
        self._waiting_bytes += change
        after = self._waiting_bytes > _MOST_WAITING_BYTES
        if before != after:
            self._full(after)
