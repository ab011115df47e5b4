"""agentexec on workers that the user runs: tasks with a mark in their metadata, judged by the activity store alone.

Nothing is created, and nothing of others is read or removed. The runs of a history without records of workers are those
of the store's log.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from agentexec.activity import PENDING, Activity, ActivityLog
from agentexec.core import runtime
from agentexec.core.requirements import unmet
from harness.errors import TargetFailed
from harness.history import Operation, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.statuses import COMPLETE, RUNNING
from harness.targets.agentexec_evidence import evidence
from harness.targets.agentexec_target import AgentexecSession
from harness.targets.applications.agentexec import ApplicationSession
from harness.targets.applications.agentexec_watched_task import WATCHED_TASK, Watched
from harness.targets.base import TaskSpec
from harness.targets.user_pool import UserPool

MARK = "harness"
"""The key in the metadata of a task of the harness; its value has the `run` and the `number` of the task."""

WORKERS = "workers"
"""The process of the runs that the store's log tells of."""


class _OnUserWorkers(AgentexecSession):
    """A session whose tasks have a mark of this run; `plain` makes them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._run = secrets.token_hex(8)
        # Ids rise with time, so that rows of other tasks need not be read.
        self._first: UUID = runtime.current().new_id()

    def plain(self, task: TaskSpec) -> ax.TaskRequest:
        """The request of a task, without its mark."""
        raise NotImplementedError

    def request(self, task: TaskSpec) -> ax.TaskRequest:
        """The request of a task with its mark."""
        made = self.plain(task)
        mark = {"run": self._run, "number": task.number}
        return replace(made, metadata={**(made.metadata or {}), MARK: mark})

    def own(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions of the activities that this run has marked."""
        marked = Activity.metadata_[MARK]["run"].as_string() == self._run
        return *super().own(), Activity.id >= self._first, marked

    def prepare(self) -> None:
        """Check that both servers are ready, and change nothing; raises `TargetFailed`."""
        self._client.redis.ping()
        with self._client.engine.connect() as connection:
            problems = unmet(connection)
        if problems:
            raise TargetFailed(f"agentexec's database is not ready: {'; '.join(problems)}.")

    def start_pool(self) -> UserPool:  # type: ignore[override]  # a pool handle too
        """The workers that the user runs."""
        return UserPool()

    def witnesses(self) -> Iterator[Operation]:
        """The log and the activities of this run, and the runs that the log tells of."""
        seconds = time.monotonic() - self._now_of_postgres()
        log: list[Operation] = []
        for operation in self._stored():
            if operation.f == "transition":
                log.append(operation)
            yield operation
        yield from runs_of(log, offset=seconds)

    def _stored(self) -> Iterator[Operation]:
        number, activity, row = Activity.metadata_[MARK]["number"].as_integer(), Activity, ActivityLog
        log = select(number, row.activity_id, row.fence, row.n, row.status, row.percentage, row.created_at)
        log = log.join(Activity).where(*self.own()).order_by(row.activity_id, row.fence, row.n)
        for task, known, fence, n, status, percentage, at in self._read(log):
            value = {"task": task, "activity": str(known), "fence": fence, "n": n, "status": status.value}
            more = {"percentage": percentage, "at": at.timestamp()}
            yield evidence("postgres", "transition", value | more)
        records = select(number, activity.id, activity.status, activity.attempt, activity.fence)
        for task, known, status, attempt, fence in self._read(
            records.where(*self.own()).order_by(activity.id)
        ):
            value = {"task": task, "activity": str(known), "status": status.value}
            yield evidence("postgres", "record", value | {"attempt": attempt, "fence": fence})

    def _now_of_postgres(self) -> float:
        return float(self._read(select(func.extract("epoch", func.clock_timestamp())))[0][0])

    def close(self) -> None:
        """Remove the rows of this run that have ended, if the role may, and disconnect."""
        with suppress(SQLAlchemyError), self._client.engine.begin() as connection:
            connection.execute(delete(Activity).where(*self.own(), Activity.status.not_in(list(PENDING))))
        self._client.close()

    def discard(self) -> None:
        """Disconnect after a failure in `prepare`."""
        self._client.close()


class WatchedAgentexec(_OnUserWorkers):
    """Tasks of the harness, which `harness.testing.add_watched_task` adds to the pool of a user."""

    def plain(self, task: TaskSpec) -> ax.TaskRequest:
        """A task that works for its time."""
        return ax.TaskRequest(task_name=WATCHED_TASK, context=Watched(work=task.work))


class WatchedApplication(_OnUserWorkers, ApplicationSession):
    """Tasks of an application, as its `make` makes them."""

    def plain(self, task: TaskSpec) -> ax.TaskRequest:
        """The task that `make` gives."""
        return self.made(task.number)


def runs_of(log: list[Operation], *, offset: float) -> Iterator[Operation]:
    """The runs that transitions tell of: each begins with `running`, and ends with what follows under its token.

    `offset` is what has to be added to a time of the log to have one of CLOCK_MONOTONIC, in seconds.
    """
    begun: set[tuple[str, int]] = set()
    for one in log:
        value = {name: one.value[name] for name in ("task", "activity", "fence")}
        key, status = (value["activity"], value["fence"]), one.value["status"]
        at = round((one.value["at"] + offset) * NANOSECONDS)
        if status == RUNNING:
            if key not in begun:
                begun.add(key)
                yield Operation(time=at, process=WORKERS, type=OperationType.INVOKE, f="run", value=value)
        elif key in begun:
            begun.remove(key)
            kind = OperationType.OK if status == COMPLETE else OperationType.INFO
            yield Operation(time=at, process=WORKERS, type=kind, f="run", value=value)
