"""What the functions that write answer: plain values that may be awaited too.

The production guide calls `ax.activity.error(agent_id, ...)` in the middle of an async handler without `await`;
agentexec 0.3.0 has it awaited. Both work: the writing is over when the call returns, and awaiting its answer gives
the plain value without giving up control.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from uuid import UUID


class Done(int):
    """Whether something was written: 1 or 0, compared and tested like a bool; awaiting it gives the bool."""

    def __await__(self) -> Generator[Any, None, bool]:
        yield from ()  # makes this a generator, as the protocol of `await` wants it
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


class AgentId(UUID):
    """The id of an activity; awaiting it gives the plain UUID."""

    def __await__(self) -> Generator[Any, None, UUID]:
        yield from ()
        return UUID(int=self.int)
