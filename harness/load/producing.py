"""The producers of a load: each enqueue is a request of Locust, and so is a task from its intended time to its end.

It works under gevent: Locust patches the standard library before this module is imported, so agentexec's enqueuer
thread is a greenlet, psycopg uses the patched `select` and waits cooperatively (`psycopg.waiting.wait` is not its C
function then), and redis-py's sockets yield. A commit that hangs blocks only the callers of its own producer, as in any
process that uses agentexec; `tests/acceptance/test_load_client.py` tests this. This module does not import gevent, and
without it the same code runs on real threads.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Unpack
from uuid import UUID

import redis
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from agentexec.task import EnqueueOptions
from harness.errors import describe_error
from harness.history import OperationType
from harness.load.figures import ENQUEUE, LATE, RUN, TASK, WAIT, Figures, RecentFigures
from harness.load.task_log import TaskLog
from harness.load.verdict import WorstTask
from harness.load.watching import TaskEnd, Tracked, Watcher

EXPECTED = (ax.AgentexecError, SQLAlchemyError, redis.RedisError)
_RECENT_SECONDS = 5.0
RUN_KEY = "harness_run"
"""The key of the run id in the metadata of each task."""
# An error that leaves no doubt: agentexec refused the task before its commit.
_CERTAIN = (ax.InvalidTask,)


class RequestFailed(Exception):
    """A failure as Locust reports it: one line without secrets, so that equal failures are counted together."""


class RequestListener(Protocol):
    """Locust's `environment.events.request.fire`."""

    def __call__(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        response_length: int,
        exception: Exception | None,
        context: dict[str, object],
    ) -> None:
        """Report one request; the time is in milliseconds."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Sending:
    """One task to be sent: `intended` is on the clock `time.monotonic`, `lateness` is the generator's own."""

    queue: str
    user: int
    intended: float
    lateness: float = 0.0


class Producers:
    """Enqueues for all users of this process and reports every outcome to Locust and to the figures.

    Each queue has several producers: agentexec clients like those of the processes of an API. `make_client` makes the
    client of a queue.
    """

    def __init__(
        self,
        make_client: Callable[[str], ax.Client],
        *,
        run: str,
        producers: int,
        log: TaskLog,
        report: RequestListener,
    ) -> None:
        self.figures = Figures()
        self.recent = RecentFigures(_RECENT_SECONDS)
        self._make_client = make_client
        self._run = run
        self._number = producers
        self._log = log
        self._report = report
        self._producers: dict[str, list[ax.Client]] = {}
        self._numbers = itertools.count()
        self.began = time.monotonic()
        self.busy = 0
        """Calls of enqueue that have not returned."""

    def start(self, queues: Sequence[str]) -> None:
        """Connect and start watching; raises what the servers raise."""
        for queue in queues:
            self._producers[queue] = [self._make_client(queue) for _ in range(self._number)]
            for producer in self._producers[queue]:
                with producer.engine.connect():
                    producer.redis.ping()
        # One reader suffices: all queues have the same activity store.
        self._reader = self._make_client(queues[0])
        self._watcher = Watcher(self._reader.engine, self._completed)
        self._watcher.start()
        self._log.note(OperationType.INFO, "load", phase="start")

    def enqueue(
        self, sending: Sending, task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]
    ) -> ax.Task | None:
        """Enqueue one task; returns None if it was not acknowledged. An interruption of the call is raised."""
        number, intended = next(self._numbers), sending.intended
        late = time.monotonic() - intended
        self.figures.accounting.notice(sending.lateness)
        self.figures.accounting.send(late)
        self._count(intended, "due")
        self._count(intended + late, "sent")
        self._fire(LATE, task_name, late)
        options["metadata"] = {**(options.get("metadata") or {}), RUN_KEY: self._run}
        producers = self._producers[sending.queue]
        self._log.note(OperationType.INVOKE, "enqueue", task=number, name=task_name)
        self.busy += 1
        try:
            task = producers[sending.user % len(producers)].enqueue_sync(task_name, context, **options)
        except EXPECTED as error:
            self._failed(number, task_name, error, intended)
            return None
        except BaseException as error:  # the run ended in the middle of a commit, or the context is none
            self._unknown(number, task_name, type(error).__name__, intended)
            raise
        finally:
            self.busy -= 1
        latency = time.monotonic() - intended
        self.figures.accounting.acknowledged += 1
        self._count(intended + latency, "acknowledged")
        self._log.note(
            OperationType.OK, "enqueue", task=number, activity=str(task.agent_id), latency_ms=latency * 1000
        )
        tracked = Tracked(number=number, name=task_name, intended=intended, enqueue=latency)
        self._watcher.track(task.agent_id, tracked)
        self._fire(ENQUEUE, task_name, latency)
        return task

    def wait_for(self, task: ax.Task) -> None:
        """Wait until a task is terminal, or its end is no longer watched."""
        self._watcher.wait_for(task.agent_id)

    def note_end(self) -> None:
        """Record that no more tasks arrive."""
        self._log.note(OperationType.INFO, "load", phase="stop")

    def drop(
        self, intended: float, lateness: float, why: str = "no user was free before the end of the load"
    ) -> None:
        """Count an arrival that is never sent, as a failure of a row of its own; the times are those of `Sending`."""
        self.figures.accounting.notice(lateness)
        self.figures.accounting.drop()
        self._count(intended, "due")
        self._count(intended, "dropped")
        self._tell(ENQUEUE, "(never sent)", 0.0, why)

    def drain(self, within: float) -> int:
        """Wait until every acknowledged task is terminal, at most `within` seconds; returns how many are not."""
        began = time.monotonic()
        pending = self._watcher.drain(within)
        self._watcher.close()
        for activity, tracked in pending.items():
            self.figures.lose(tracked.name)
            self._note_course(activity, tracked, math.inf)
            failure = f"not terminal {within:g} s after the end of the load"
            self._tell(TASK, tracked.name, time.monotonic() - tracked.intended, failure)
        self._log.note(OperationType.INFO, "drained", pending=len(pending), seconds=time.monotonic() - began)
        return len(pending)

    def close(self) -> None:
        """Stop watching and close all connections."""
        self._watcher.close()
        for client in (*itertools.chain.from_iterable(self._producers.values()), self._reader):
            client.close()
        self._log.close()

    def _failed(self, number: int, name: str, error: Exception, intended: float) -> None:
        reason = describe_error(error)
        if isinstance(error, _CERTAIN):
            self.figures.accounting.refused += 1
            self._log.note(OperationType.FAIL, "enqueue", task=number, error=reason)
            self._fire(ENQUEUE, name, time.monotonic() - intended, failure=reason)
        else:
            # The commit may have happened before a connection broke, and it has if the queue is full.
            self._unknown(number, name, reason, intended)

    def _unknown(self, number: int, name: str, reason: str, intended: float) -> None:
        self.figures.accounting.unknown += 1
        self._log.note(OperationType.INFO, "enqueue", task=number, error=reason)
        self._fire(ENQUEUE, name, time.monotonic() - intended, failure=reason)

    def _completed(self, activity: UUID, tracked: Tracked, end: TaskEnd) -> None:
        self._log.note(
            OperationType.OK,
            "complete",
            task=tracked.number,
            activity=str(activity),
            status=end.status.value,
            latency_ms=end.latency * 1000,
        )
        self.figures.accounting.terminal[end.status.value] += 1
        complete = end.status is ax.activity.Status.COMPLETE
        failure = None if complete else f"the task ended as {end.status.value}"
        self._fire(TASK, tracked.name, end.latency, failure=failure)
        self._note_course(activity, tracked, end.latency, end)
        self._count(tracked.intended + end.latency, "completed" if complete else "failed")
        if end.wait is not None and end.run is not None:
            self._fire(WAIT, tracked.name, end.wait)
            self._fire(RUN, tracked.name, end.run)

    def _count(self, moment: float, name: str) -> None:
        self.figures.series.count(max(0.0, moment - self.began), name)

    def _note_course(
        self, activity: UUID, tracked: Tracked, seconds: float, end: TaskEnd | None = None
    ) -> None:
        stages = {"enqueue": tracked.enqueue} | ({} if end is None else {"wait": end.wait, "run": end.run})
        self.figures.note_course(
            WorstTask(
                row=f"{TASK} {tracked.name}",
                activity=str(activity),
                intended=tracked.intended - self.began,
                seconds=seconds,
                status=None if end is None else end.status.value,
                stages={name: took for name, took in stages.items() if took is not None},
            ),
            complete=end is not None and end.status is ax.activity.Status.COMPLETE,
        )

    def _fire(self, kind: str, name: str, seconds: float, *, failure: str | None = None) -> None:
        self.figures.record(kind, name, seconds, failed=failure is not None)
        self.recent.record(kind, name, seconds, failed=failure is not None)
        self._tell(kind, name, seconds, failure)

    def _tell(self, kind: str, name: str, seconds: float, failure: str | None) -> None:
        self._report(
            request_type=kind,
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=None if failure is None else RequestFailed(failure),
            context={},
        )
