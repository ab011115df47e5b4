"""Identifiers that grow with time, so that new rows go to the end of a B-tree index."""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import UUID

from agentexec.errors import require

_RANDOM_BYTES = 10
_BLOCK = 409 * _RANDOM_BYTES  # read at once: a system call for each id would double its cost
_VERSION, _VARIANT = 0x7 << 76, 0b10 << 62
_RANDOM_BITS = (0xFFF << 64) | 0x3FFF_FFFF_FFFF_FFFF

# The ends of ids to come. A forked child discards those of its parent.
_ends: list[int] = []
os.register_at_fork(after_in_child=_ends.clear)


def new_id() -> UUID:
    """A version 7 UUID (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    while True:
        try:
            return UUID(int=(milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _ends.pop())
        except IndexError:
            block = os.urandom(_BLOCK)
            parts = [block[i : i + _RANDOM_BYTES] for i in range(0, _BLOCK, _RANDOM_BYTES)]
            _ends.extend(int.from_bytes(p, "big") & _RANDOM_BITS | _VERSION | _VARIANT for p in parts)


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
