"""Reads from Postgres when tasks started and ended, all pending ones in one query at a time.

The times are Postgres's time stamps. An offset that is measured at the start converts them to the local clock, so the
polling interval does not influence the latencies. The thread is a greenlet under Locust.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Engine, Select, Uuid, any_, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from agentexec.activity import TERMINAL, Activity, ActivityLog, Status
from harness.errors import first_line

POLL_SECONDS = 0.1
BATCH = 1000
_SAMPLES = 5
_TERMINAL = sorted(TERMINAL)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """A watched task: its number, its name, and its intended time in seconds of `time.monotonic`.

    `enqueue` are the seconds from that time until it was acknowledged.
    """

    number: int
    name: str
    intended: float
    enqueue: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskEnd:
    """The end of a task: its terminal status, and seconds.

    `latency` counts from the intended time; `wait` from the commit of the enqueue to the first start, and `run` from
    there to the end, both None for a task that never started.
    """

    status: Status
    latency: float
    wait: float | None
    run: float | None


# Called for each finished task with the id of its activity.
Completed = Callable[[UUID, Tracked, TaskEnd], None]


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

    def wait_for(self, activity: UUID) -> None:
        """Wait until a task is finished, or this watches no more."""
        with self._changed:
            self._changed.wait_for(lambda: activity not in self._pending or self._closing.is_set())

    def drain(self, within: float) -> dict[UUID, Tracked]:
        """Wait until no task is pending, at most `within` seconds; returns those that are."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, timeout=within)
            return dict(self._pending)

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
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
            pending = list(self._pending.items())
        for start in range(0, len(pending), BATCH):
            for activity, tracked, end in self._ended(dict(pending[start : start + BATCH])):
                self._completed(activity, tracked, end)
                with self._changed:
                    del self._pending[activity]
                    self._changed.notify_all()

    def _ended(self, pending: Mapping[UUID, Tracked]) -> Iterator[tuple[UUID, Tracked, TaskEnd]]:
        with self._engine.connect() as connection:
            rows = connection.execute(_query(list(pending))).all()
        for activity, status, created, ended, begun in rows:
            tracked = pending[activity]
            moment = min(ended.timestamp() - self._offset, time.monotonic())
            yield (
                activity,
                tracked,
                TaskEnd(
                    status=status,
                    latency=max(0.0, moment - tracked.intended),
                    wait=None if begun is None else _seconds(created, begun),
                    run=None if begun is None else _seconds(begun, ended),
                ),
            )

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


def _query(activities: Sequence[UUID]) -> Select[UUID, Status, datetime, datetime, datetime | None]:
    """Those of the activities that are over, with the times of their commit, their end and their first start."""
    started = select(func.min(ActivityLog.created_at)).where(
        ActivityLog.activity_id == Activity.id, ActivityLog.status == Status.RUNNING
    )
    asked = any_(bindparam("asked", activities, type_=ARRAY(Uuid)))
    return select(
        Activity.id, Activity.status, Activity.created_at, Activity.updated_at, started.scalar_subquery()
    ).where(Activity.id == asked, Activity.status.in_(_TERMINAL))


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
