"""The thread that marks recorded tasks as dispatched, so that no producer waits for it.

A mark is a note: where it gets lost, the relay of a pool offers the task to Redis once more, which changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from sqlalchemy import Engine

from agentexec.core import runtime
from agentexec.core.db import one_statement
from agentexec.store.hot import mark_dispatched

MARK_AT = 1000  # rows that are marked without waiting for more
MARK_WITHIN = 0.25  # seconds that a row stays unmarked at most: the relay would offer it again after 2

_logger = logging.getLogger(__name__)


class DispatchMarker:
    """Marks what it is told, in batches. Safe to use from any thread."""

    def __init__(self, engine: Engine, *, turns: AbstractContextManager[object]) -> None:
        """`turns` is entered around every write, for databases that take one writer at a time."""
        self._one_statement = one_statement(engine)
        self._turns = turns
        self._changed = runtime.current().condition()
        self._unmarked: list[UUID] = []
        self._closing = False
        self._thread: runtime.Thread | None = None

    def add(self, ids: Sequence[UUID]) -> None:
        """The queue has these tasks."""
        if not ids:
            return
        with self._changed:
            if self._thread is None:
                self._thread = runtime.current().spawn(self._run, name="agentexec-marker")
            first = not self._unmarked
            self._unmarked += ids
            if first or len(self._unmarked) >= MARK_AT:  # in between there is nothing to wake up for
                self._changed.notify()

    def close(self) -> None:
        """Mark what is left, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while ids := self._next():
            try:
                with self._turns, self._one_statement.begin() as connection:
                    mark_dispatched(connection, ids)
            except Exception as error:  # noqa: BLE001 - losing the marks costs one more round trip, no task
                _logger.warning("could not mark %d dispatched task(s): %s", len(ids), error)

    def _next(self) -> list[UUID]:
        """Wait for rows, and a moment for more of them; none once it is closed and all are marked."""
        with self._changed:
            self._changed.wait_for(lambda: self._unmarked or self._closing)
            self._changed.wait_for(
                lambda: len(self._unmarked) >= MARK_AT or self._closing, timeout=MARK_WITHIN
            )
            ids, self._unmarked = self._unmarked, []
            return ids
