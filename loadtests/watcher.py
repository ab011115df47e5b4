"""One thread (a greenlet under Locust) that asks Postgres which tasks are over, for all of them at once.

When a task ended is Postgres's own time stamp, carried over to our clock by an offset that is measured at the start, so
the pause between two looks does not blur the latencies.
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
from harness.masking import masked

PAUSE = 0.1
"""Seconds between two looks."""
BATCH = 1000
_SAMPLES = 5
_TERMINAL = sorted(TERMINAL)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """A task to watch: its number and when it was meant to arrive, in seconds of `time.monotonic`."""

    number: int
    intended: float


Completed = Callable[[str, Tracked, Status, float], None]
"""Told of each task that is over: activity, task, terminal status, milliseconds from the intended time."""


class Watcher:
    """Watches activities until they are over. `track` may be called from anywhere."""

    def __init__(self, engine: Engine, completed: Completed) -> None:
        self._engine = engine
        self._completed = completed
        self._pending: dict[UUID, Tracked] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._offset = 0.0
        self._thread = threading.Thread(target=self._run, name="load-watcher", daemon=True)

    def start(self) -> None:
        """Compare the clocks and begin; raises `SQLAlchemyError` where Postgres does not answer."""
        self._offset = self._measure_offset()
        self._thread.start()

    def track(self, activity: UUID, tracked: Tracked) -> None:
        """Watch one more task."""
        with self._changed:
            self._pending[activity] = tracked

    def drain(self, within: float) -> int:
        """Wait until nothing is pending, at most `within` seconds; returns how many tasks still are."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, timeout=within)
            return len(self._pending)

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(PAUSE):
            try:
                self._look()
            except (
                SQLAlchemyError
            ) as error:  # a database that is away may come back; what stays unseen counts as never
                _logger.warning("cannot see which tasks are over: %s", masked(str(error)).splitlines()[0])

    def _look(self) -> None:
        with self._changed:
            asked = list(self._pending)
        for start in range(0, len(asked), BATCH):
            for activity, status, at in self._ended(asked[start : start + BATCH]):
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
        """Postgres's clock minus ours; of several looks the one that took least time is the most exact."""
        looks = []
        with self._engine.connect() as connection:
            for _ in range(_SAMPLES):
                before = time.monotonic()
                theirs: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
                after = time.monotonic()
                looks.append((after - before, theirs.timestamp() - (before + after) / 2))
        return min(looks)[1]
