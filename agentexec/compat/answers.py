"""Results of functions that write: plain values that may be awaited too.

The production guide calls `ax.activity.error(agent_id, ...)` in an async handler without `await`; agentexec 0.3.0
awaits it. Both work: the write is complete when the call returns, and `await` gives the plain value at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from uuid import UUID


class Done(int):
    """Whether something was written: 1 or 0, usable as a bool; `await` gives the bool."""

    def __await__(self) -> Generator[Any, None, bool]:
        yield from ()  # an awaitable's iterator must be a generator
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


class AgentId(UUID):
    """The id of an activity; `await` gives the plain UUID."""

    def __await__(self) -> Generator[Any, None, UUID]:
        yield from ()
        return UUID(int=self.int)
