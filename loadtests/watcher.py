"""A thread (a greenlet under Locust) that polls Postgres for finished tasks, all of them in one query.

The end of a task is Postgres's time stamp. An offset that is measured at the start converts it to the local clock, so
the polling interval does not influence the latencies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Engine, Uuid, any_, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from agentexec.activity import TERMINAL, Activity, Status
from harness.errors import first_line

POLL_SECONDS = 0.1
BATCH = 1000
_SAMPLES = 5
_TERMINAL = sorted(TERMINAL)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """A watched task: its number and its intended time, in seconds of `time.monotonic`."""

    number: int
    intended: float


# Called for each finished task: activity, task, terminal status, milliseconds from the intended time.
Completed = Callable[[str, Tracked, Status, float], None]


class Watcher:
    """Watches activities until they are finished. `track` may be called from any thread."""

    def __init__(self, engine: Engine, completed: Completed) -> None:
        self._engine = engine
        self._completed = completed
        self._pending: dict[UUID, Tracked] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._offset = 0.0
        self._thread = threading.Thread(target=self._run, name="load-watcher", daemon=True)

    def start(self) -> None:
        """Measure the clock offset and start the thread; raises `SQLAlchemyError` if Postgres does not answer."""
        self._offset = self._measure_offset()
        self._thread.start()

    def track(self, activity: UUID, tracked: Tracked) -> None:
        """Watch one more task."""
        with self._changed:
            self._pending[activity] = tracked

    def drain(self, within: float) -> int:
        """Wait until no task is pending, at most `within` seconds; returns how many are."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, timeout=within)
            return len(self._pending)

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(POLL_SECONDS):
            try:
                self._look()
            except SQLAlchemyError as error:
                # Postgres may answer again later. A task whose end is never read counts as never completed.
                _logger.warning("cannot read which tasks are finished: %s", first_line(error))

    def _look(self) -> None:
        with self._changed:
            pending = list(self._pending)
        for start in range(0, len(pending), BATCH):
            for activity, status, at in self._ended(pending[start : start + BATCH]):
                tracked = self._pending[activity]
                moment = min(at.timestamp() - self._offset, time.monotonic())
                self._completed(str(activity), tracked, status, max(0.0, moment - tracked.intended) * 1000)
                with self._changed:
                    del self._pending[activity]
                    self._changed.notify_all()

    def _ended(self, activities: Sequence[UUID]) -> Sequence[tuple[UUID, Status, datetime]]:
        asked = any_(bindparam("asked", activities, type_=ARRAY(Uuid)))
        query = select(Activity.id, Activity.status, Activity.updated_at)
        query = query.where(Activity.id == asked, Activity.status.in_(_TERMINAL))
        with self._engine.connect() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def _measure_offset(self) -> float:
        """Postgres's clock minus the local one; of several samples the fastest is the most exact."""
        samples = []
        with self._engine.connect() as connection:
            for _ in range(_SAMPLES):
                before = time.monotonic()
                theirs: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
                after = time.monotonic()
                samples.append((after - before, theirs.timestamp() - (before + after) / 2))
        return min(samples)[1]
