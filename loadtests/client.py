"""agentexec as Locust sees it: an enqueue is a request, and so is the way of a task until it is COMPLETE.

Sound under gevent by what was measured, not by hope: Locust patches the standard library before this module is
imported, so agentexec's enqueuer thread becomes a greenlet, psycopg sees the patched `select` and waits cooperatively
(`psycopg.waiting.wait` is not its C function then), and redis-py's sockets yield. A producer whose commit hangs stops
its own callers, as in any process that uses agentexec, and nobody else; `tests/acceptance/test_load_client.py` holds a
commit back and looks. Nothing here imports gevent: without it the same code runs on real threads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Protocol

import redis
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from harness.history import OperationType
from harness.masking import masked
from loadtests.ledger import SubmissionLog
from loadtests.watcher import Tracked, Watcher
from loadtests.work import TASK_NAME, Work

ENQUEUE, TASK = "ENQUEUE", "TASK"
EXPECTED = (ax.AgentexecError, SQLAlchemyError, redis.RedisError)


class RequestFailed(Exception):
    """What Locust is told of a failure: one line, without secrets, so that equal failures are counted together."""


class Report(Protocol):
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
        """Take note of one request; the time is in milliseconds."""
        ...


class LoadClient:
    """Enqueues for all users of this process, through several producers, and reports every outcome to Locust.

    Each producer is an agentexec `Client`, as each process of an API has one. Times are on the clock of
    `time.monotonic`.
    """

    def __init__(
        self,
        make_client: Callable[[], ax.Client],
        *,
        producers: int,
        max_tasks: int,
        ledger: SubmissionLog,
        report: Report,
    ) -> None:
        self._producers = [make_client() for _ in range(producers)]
        self._reader = make_client()
        self._numbers = itertools.count()
        self._max_tasks = max_tasks
        self._ledger = ledger
        self._report = report
        self._watcher = Watcher(self._reader.engine, self._completed)

    def start(self) -> None:
        """Connect and begin to watch; raises what the servers raise."""
        for producer in (*self._producers, self._reader):
            with producer.engine.connect():
                producer.redis.ping()
        self._watcher.start()
        self._ledger.note(OperationType.INFO, "load", phase="start")

    def enqueue(self, user: int, work: Work, *, intended: float) -> bool:
        """Enqueue one task that was meant to arrive at `intended`; False, and nothing done, past the cap of tasks.

        A failure is reported and not raised, but for one that is no outcome of an enqueue.
        """
        number = next(self._numbers)
        if number >= self._max_tasks:
            return False
        producer = self._producers[user % len(self._producers)]
        self._ledger.note(OperationType.INVOKE, "enqueue", task=number)
        try:
            task = producer.enqueue_sync(TASK_NAME, work)
        except EXPECTED as error:
            self._failed(number, error, intended)
            return True
        except BaseException as error:  # the end of the run, in the middle of a commit
            self._ledger.note(OperationType.INFO, "enqueue", task=number, error=type(error).__name__)
            raise
        latency = (time.monotonic() - intended) * 1000
        activity = str(task.agent_id)
        self._ledger.note(OperationType.OK, "enqueue", task=number, activity=activity, latency_ms=latency)
        self._watcher.track(task.agent_id, Tracked(number=number, intended=intended))
        self._fire(ENQUEUE, latency, length=len(work.padding))
        return True

    def note_end(self) -> None:
        """Note that no more tasks arrive."""
        self._ledger.note(OperationType.INFO, "load", phase="stop")

    def drain(self, within: float) -> int:
        """Wait until every acknowledged task is over, at most so many seconds; returns how many are not."""
        began = time.monotonic()
        pending = self._watcher.drain(within)
        self._ledger.note(OperationType.INFO, "drained", pending=pending, seconds=time.monotonic() - began)
        return pending

    def close(self) -> None:
        """Stop watching and let go of all connections."""
        self._watcher.close()
        for client in (*self._producers, self._reader):
            client.close()
        self._ledger.close()

    def _failed(self, number: int, error: Exception, intended: float) -> None:
        said = masked(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
        # Only a refusal is certain: after a broken connection the commit may have happened, and a full queue records.
        kind = OperationType.FAIL if isinstance(error, ax.InvalidTask) else OperationType.INFO
        self._ledger.note(kind, "enqueue", task=number, error=said)
        self._fire(ENQUEUE, (time.monotonic() - intended) * 1000, failure=said)

    def _completed(self, activity: str, tracked: Tracked, status: ax.activity.Status, latency: float) -> None:
        self._ledger.note(
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
