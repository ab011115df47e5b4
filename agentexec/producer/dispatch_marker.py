"""The thread that notes in Postgres which tasks were dispatched, so that no producer waits for the note.

If a note is lost, the outbox dispatcher of a pool offers the task to Redis again, which changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from sqlalchemy import Engine

from agentexec.core.db import one_statement
from agentexec.producer.batching import BatchThread
from agentexec.store.statements import mark_dispatched
from agentexec.text import first_line

MARK_AT = 1000  # rows that are marked without waiting for more
MARK_WITHIN_SECONDS = 0.25  # far below the 2 s after which the outbox dispatcher offers a task again

_logger = logging.getLogger(__name__)


class DispatchMarker(BatchThread[Sequence[UUID]]):
    """Marks activities as dispatched, in batches; each item is a sequence of their ids."""

    def __init__(self, engine: Engine, *, one_writer: AbstractContextManager[object]) -> None:
        """`one_writer` is entered around every write, for databases that take one writer at a time."""
        super().__init__(
            self._mark, name="agentexec-marker", limit=MARK_AT, linger_seconds=MARK_WITHIN_SECONDS
        )
        self._one_statement = one_statement(engine)
        self._one_writer = one_writer

    def add(self, item: Sequence[UUID]) -> None:
        if item:
            super().add(item)

    def _mark(self, batch: Sequence[Sequence[UUID]]) -> None:
        ids = [i for part in batch for i in part]
        try:
            with self._one_writer, self._one_statement.begin() as connection:
                mark_dispatched(connection, ids)
        except Exception as error:  # noqa: BLE001 - a lost mark costs one more round trip and no task
            _logger.warning("could not mark %d dispatched task(s): %s", len(ids), first_line(error))
