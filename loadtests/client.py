"""The client of Locust's users: an enqueue is a request, and so is a task from its enqueue to COMPLETE.

It works under gevent: Locust patches the standard library before this module is imported, so agentexec's enqueuer
thread is a greenlet, psycopg uses the patched `select` and waits cooperatively (`psycopg.waiting.wait` is not its C
function then), and redis-py's sockets yield. A commit that hangs blocks only the callers of its own producer, as in any
process that uses agentexec; `tests/acceptance/test_load_client.py` tests this. This module does not import gevent, and
without it the same code runs on real threads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Protocol

import redis
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from harness.errors import describe_error
from harness.history import OperationType
from loadtests.submission_log import SubmissionLog
from loadtests.watcher import Tracked, Watcher
from loadtests.work import TASK_NAME, Work

ENQUEUE, TASK = "ENQUEUE", "TASK"
EXPECTED = (ax.AgentexecError, SQLAlchemyError, redis.RedisError)


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


class LoadClient:
    """Enqueues for all users of this process through several producers and reports every outcome to Locust.

    Each producer is an agentexec `Client`, like that of one process of an API. Times are those of `time.monotonic`.
    """

    def __init__(
        self,
        make_client: Callable[[], ax.Client],
        *,
        producers: int,
        max_tasks: int,
        log: SubmissionLog,
        report: RequestListener,
    ) -> None:
        self._producers = [make_client() for _ in range(producers)]
        self._reader = make_client()
        self._numbers = itertools.count()
        self._max_tasks = max_tasks
        self._log = log
        self._report = report
        self._watcher = Watcher(self._reader.engine, self._completed)

    def start(self) -> None:
        """Connect and start the watcher; raises what the servers raise."""
        for producer in (*self._producers, self._reader):
            with producer.engine.connect():
                producer.redis.ping()
        self._watcher.start()
        self._log.note(OperationType.INFO, "load", phase="start")

    def enqueue(self, user: int, work: Work, *, intended: float) -> bool:
        """Enqueue one task whose intended time is `intended`; returns False beyond the maximum number of tasks.

        A failed enqueue is reported and does not raise; an interruption of the call does.
        """
        number = next(self._numbers)
        if number >= self._max_tasks:
            return False
        producer = self._producers[user % len(self._producers)]
        self._log.note(OperationType.INVOKE, "enqueue", task=number)
        try:
            task = producer.enqueue_sync(TASK_NAME, work)
        except EXPECTED as error:
            self._failed(number, error, intended)
            return True
        except BaseException as error:  # the run ended in the middle of a commit
            self._log.note(OperationType.INFO, "enqueue", task=number, error=type(error).__name__)
            raise
        latency = (time.monotonic() - intended) * 1000
        activity = str(task.agent_id)
        self._log.note(OperationType.OK, "enqueue", task=number, activity=activity, latency_ms=latency)
        self._watcher.track(task.agent_id, Tracked(number=number, intended=intended))
        self._fire(ENQUEUE, latency, length=len(work.padding))
        return True

    def note_end(self) -> None:
        """Record that no more tasks arrive."""
        self._log.note(OperationType.INFO, "load", phase="stop")

    def drain(self, within: float) -> int:
        """Wait until every acknowledged task is finished, at most `within` seconds; returns how many are not."""
        began = time.monotonic()
        pending = self._watcher.drain(within)
        self._log.note(OperationType.INFO, "drained", pending=pending, seconds=time.monotonic() - began)
        return pending

    def close(self) -> None:
        """Stop the watcher and close all connections."""
        self._watcher.close()
        for client in (*self._producers, self._reader):
            client.close()
        self._log.close()

    def _failed(self, number: int, error: Exception, intended: float) -> None:
        reason = describe_error(error)
        # Only InvalidTask is certain: the commit may have happened before a connection broke, and it has if the queue
        # is full.
        kind = OperationType.FAIL if isinstance(error, ax.InvalidTask) else OperationType.INFO
        self._log.note(kind, "enqueue", task=number, error=reason)
        self._fire(ENQUEUE, (time.monotonic() - intended) * 1000, failure=reason)

    def _completed(self, activity: str, tracked: Tracked, status: ax.activity.Status, latency: float) -> None:
        self._log.note(
            OperationType.OK,
            "complete",
            task=tracked.number,
            activity=activity,
            status=status.value,
            latency_ms=latency,
        )
        failure = None if status is ax.activity.Status.COMPLETE else f"the task ended as {status.value}"
        self._fire(TASK, latency, failure=failure)

    def _fire(self, kind: str, latency: float, *, length: int = 0, failure: str | None = None) -> None:
        self._report(
            request_type=kind,
            name=TASK_NAME,
            response_time=latency,
            response_length=length,
            exception=None if failure is None else RequestFailed(failure),
            context={},
        )
