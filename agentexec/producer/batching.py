"""A thread that handles items in batches: what arrives while one batch is handled forms the next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sized
from typing import Generic, TypeVar

from agentexec.core import runtime
from agentexec.errors import AgentexecError

T = TypeVar("T", bound=Sized)

_logger = logging.getLogger(__name__)


class BatchThread(Generic[T]):
    """Collects items from any thread and hands them to `handle` in the order of their arrival.

    A batch takes items up to a total length of `limit`, at least one. The thread starts with the first item. After the
    first item of a batch it waits up to `linger_seconds` for a full one. `handle` reports its own failures; what it
    raises nevertheless is logged, and the thread goes on.
    """

    def __init__(
        self, handle: Callable[[list[T]], None], *, name: str, limit: int, linger_seconds: float = 0.0
    ) -> None:
        self._handle = handle
        self._name = name
        self._limit = limit
        self._linger_seconds = linger_seconds
        self._closing = False
        self.reset()

    def reset(self) -> None:
        """Forget the thread and the items that wait. In a forked child these belong to the parent."""
        self._changed = runtime.current().condition()
        self._waiting: list[T] = []
        self._size = 0  # the total length of the items that wait
        self._thread: runtime.Thread | None = None

    def add(self, item: T) -> None:
        """Add an item to the next batch; raises `AgentexecError` after `close`."""
        with self._changed:
            if self._closing:
                raise AgentexecError("This client is closed; make a new one.")
            if self._thread is None:
                self._thread = runtime.current().spawn(self._run, name=self._name)
            first = not self._waiting
            self._waiting.append(item)
            self._size += len(item)
            if first or self._size >= self._limit:  # in between, the thread has nothing to do
                self._changed.notify()

    def take_waiting(self) -> list[T]:
        """Remove and return the items that wait for the next batch."""
        with self._changed:
            waiting, self._waiting, self._size = self._waiting, [], 0
            return waiting

    def close(self) -> None:
        """Handle the items that wait, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._handle(batch)
            except Exception:
                _logger.exception("%s failed to handle a batch of %d item(s)", self._name, len(batch))

    def _next(self) -> list[T]:
        """Wait for the next batch; empty once the thread is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._linger_seconds:
                self._changed.wait_for(
                    lambda: self._size >= self._limit or self._closing, timeout=self._linger_seconds
                )
            taken, total = 0, 0
            for item in self._waiting:
                if taken and total + len(item) > self._limit:
                    break
                taken, total = taken + 1, total + len(item)
            batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
            self._size -= total
            return batch
