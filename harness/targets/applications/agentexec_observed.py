"""agentexec as its users run it: the tasks of their own producers, read from the activity store and never changed.

Each transaction is read-only, so a role that may only SELECT is enough. Redis is not read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Table, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from agentexec.activity import PENDING, Status
from agentexec.core.db import engine_for
from harness.environments.base import WATCHING, Endpoints
from harness.errors import TargetFailed, describe_error
from harness.history import Operation
from harness.history.figures import NANOSECONDS
from harness.targets.agentexec_evidence import STORES, evidence
from harness.targets.applications.agentexec_watched import runs_of
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.user_pool import UserPool

# An id has the clock of its producer, which may be slow. It only bounds how much of the table is read.
_SLOW_CLOCK = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrivedTask:
    """A task of the user's producers; `due` is when it could begin at the earliest, in ns of CLOCK_MONOTONIC."""

    number: int
    activity: str
    name: str
    due: int


class ObservedAgentexec:
    """The tasks that are created on a queue while this session is open; a delayed one counts once it is due."""

    def __init__(self, endpoints: Endpoints, settings: TargetSettings) -> None:
        self._queue = settings.queue
        self.engine = engine_for(endpoints.database_url, name=WATCHING).execution_options(
            postgresql_readonly=True
        )
        self._stores: list[tuple[Table, Table]] = []
        self._numbers: dict[UUID, int] = {}
        self._since = datetime.min
        self._first = UUID(int=0)
        self._offset = 0.0

    def prepare(self) -> None:
        """Note the time of Postgres, and which tables the role can read; raises `TargetFailed`."""
        with _failures("prepare"), self.engine.connect() as connection:
            self._since = connection.execute(select(func.clock_timestamp())).scalar_one()
            # To be added to a time of Postgres to have one of CLOCK_MONOTONIC, in seconds.
            self._offset = time.monotonic() - self._since.timestamp()
            milliseconds = int((self._since - _SLOW_CLOCK).timestamp() * 1000)
            self._first = UUID(int=milliseconds << 80)
            self._stores = [store for store in STORES if _is_readable(connection, store)]
        if not self._stores or self._stores[0] is not STORES[0]:
            names = " and ".join(table.name for table in STORES[0])
            raise TargetFailed(
                f"The role cannot read {names}. GRANT SELECT on them to it, and check AGENTEXEC_TABLE_PREFIX."
            )

    def arrived(self) -> list[ArrivedTask]:
        """The tasks that arrived since the last call; raises `TargetFailed`."""
        activities, _ = STORES[0]
        row = activities.c
        due = func.greatest(row.created_at, func.coalesce(row.run_after, row.created_at)).label("due")
        query = select(row.id, row.agent_type, due).where(*self._own(activities))
        found = self._read(query.where(due <= func.clock_timestamp()).order_by(row.id))
        new = [one for one in found if one.id not in self._numbers]
        for one in new:
            self._numbers[one.id] = len(self._numbers) + 1
        return [
            ArrivedTask(
                number=self._numbers[one.id], activity=str(one.id), name=one.agent_type, due=self._ns(one.due)
            )
            for one in new
        ]

    def unfinished(self) -> int:
        """How many of the tasks that arrived have not ended."""
        activities, _ = STORES[0]
        row = activities.c
        query = select(row.id).where(*self._own(activities), row.status.in_(list(PENDING)))
        return sum(one.id in self._numbers for one in self._read(query))

    def movement(self) -> object:
        """How many starts and entries of the log there are."""
        activities, log = STORES[0]
        query = select(func.count(), func.max(log.c.created_at)).select_from(log.join(activities))
        return tuple(map(tuple, self._read(query.where(*self._own(activities)))))

    def witnesses(self) -> Iterator[Operation]:
        """The log and the activities of the tasks that arrived, and the runs that the log tells of."""
        entries: list[Operation] = []
        with _failures("read its activities"), self.engine.connect() as connection:
            for activities, log in self._stores:
                entries += self._entries(connection, activities, log)
            yield from entries
            for activities, _ in self._stores:
                yield from self._records(connection, activities)
        yield from runs_of(entries, offset=self._offset)

    def start_pool(self) -> UserPool:
        """The workers that the user runs."""
        return UserPool()

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Nothing is submitted; raises `TargetFailed`."""
        raise TargetFailed(f"{len(tasks)} tasks are not submitted: this run is read-only.")

    def close(self) -> None:
        """Disconnect."""
        self.engine.dispose()

    discard = close

    def _own(self, activities: Table) -> tuple[ColumnElement[bool], ...]:
        """The conditions of the activities that were created during the session."""
        row = activities.c
        return row.id >= self._first, row.queue_name == self._queue, row.created_at >= self._since

    def _entries(self, connection: Connection, activities: Table, log: Table) -> Iterator[Operation]:
        row = log.c
        query = select(row.activity_id, row.fence, row.n, row.status, row.percentage, row.created_at)
        query = query.join(activities, activities.c.id == row.activity_id).where(*self._own(activities))
        for one in connection.execute(query.order_by(row.activity_id, row.fence, row.n)).all():
            if (task := self._numbers.get(one.activity_id)) is not None:
                value = {"task": task, "activity": str(one.activity_id), "fence": one.fence, "n": one.n}
                more = {"percentage": one.percentage, "at": one.created_at.timestamp()}
                yield evidence("postgres", "transition", value | {"status": _text(one.status)} | more)

    def _records(self, connection: Connection, activities: Table) -> Iterator[Operation]:
        row = activities.c
        query = select(row.id, row.status, row.attempt, row.fence).where(*self._own(activities))
        for one in connection.execute(query.order_by(row.id)).all():
            if (task := self._numbers.get(one.id)) is not None:
                value = {"task": task, "activity": str(one.id), "status": _text(one.status)}
                yield evidence("postgres", "record", value | {"attempt": one.attempt, "fence": one.fence})

    def _ns(self, at: datetime) -> int:
        return round((at.timestamp() + self._offset) * NANOSECONDS)

    def _read(self, query: Any) -> Sequence[Row[Any]]:
        with _failures("read its activities"), self.engine.connect() as connection:
            return connection.execute(query).all()


def _is_readable(connection: Connection, store: tuple[Table, Table]) -> bool:
    known = inspect(connection)
    return all(
        known.has_table(table.name)
        and connection.execute(select(func.has_table_privilege(table.name, "SELECT"))).scalar_one()
        for table in store
    )


def _text(status: Status | str) -> str:
    # The archive has the statuses as text.
    return Status(status).value


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise TargetFailed(
            f"agentexec could not {what}: {describe_error(error)}. See the log of Postgres."
        ) from None
