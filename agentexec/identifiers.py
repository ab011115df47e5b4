"""Identifiers that grow with time, so that new rows go to the end of a B-tree index."""

from __future__ import annotations

import os
import threading
import time
from typing import Any
from uuid import UUID

from agentexec.errors import require

_RANDOM_BYTES = 10
_BLOCK = 409 * _RANDOM_BYTES  # read at once: a system call for each id would double its cost


class _Randomness:
    """The operating system's random bytes, read in blocks. A forked child discards its parent's block."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._block = b""

    def take(self) -> int:
        """The next 80 random bits."""
        with self._lock:
            if not self._block:
                self._block = os.urandom(_BLOCK)
            taken, self._block = self._block[:_RANDOM_BYTES], self._block[_RANDOM_BYTES:]
        return int.from_bytes(taken, "big")


_randomness = _Randomness()


def new_id() -> UUID:
    """A version 7 UUID (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = _randomness.take()
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= ((random >> 68) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=value)


def parse_id(agent_id: Any) -> UUID:
    """An id (a UUID or its text) as a UUID; raises ValueError for text that is not a UUID."""
    if isinstance(agent_id, UUID):
        return agent_id
    require(agent_id, str, "The id of an activity is a UUID or its text", "pass the `agent_id` of the task")
    try:
        return UUID(agent_id)
    except ValueError:
        raise ValueError(
            f"{agent_id[:40]!r} is not the id of an activity; ids are UUIDs, such as the `agent_id` of a task."
        ) from None
