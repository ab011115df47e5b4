"""The clients of a run: they submit each task at its intended time, independent of faults and of earlier answers.

A client that waits for an answer must not delay the next arrival. Otherwise a frozen system receives few requests, and
only those few are slow (coordinated omission). So there are as many clients as arrivals need, each a thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from harness.history.figures import NANOSECONDS
from harness.targets.base import TaskSpec
from harness.workloads.base import WorkloadClient
from harness.workloads.generator import Arrival

CLIENTS = 256
"""The most clients of a run. While all of them wait for an answer, the tasks that fall due wait for a free one."""

# The most tasks of one submission when the clients are late.
_BATCH = 100
_LAST_SUBMISSION_SECONDS = 5.0


class Driver:
    """Submits each task at its time after `start` (by `time.monotonic`), which the task carries as `intended`.

    A thread is added if all others wait for an answer, up to `clients`. Tasks that are overdue are submitted together,
    so a delay does not move the intended times of later tasks. `failed` is set once a submission raises. `noticed` is
    called with the seconds between the time of each task and the moment at which the driver noticed it.
    """

    def __init__(
        self,
        client: WorkloadClient,
        arrivals: Iterable[Arrival],
        *,
        start: float,
        clients: int = CLIENTS,
        failed: threading.Event | None = None,
        noticed: Callable[[float], object] | None = None,
    ) -> None:
        self._client = client
        self._most = clients
        self._stop = threading.Event()
        self._failed = failed
        self._noticed = noticed
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        self._answered = threading.Condition(self._lock)
        self._waiting: deque[list[TaskSpec]] = deque()  # due, and not taken by a client yet
        self._clients = 0
        self._free = 0  # clients that take the next tasks
        self._open = 1  # submissions without an answer, and one for the thread that reads the arrivals
        self._error: BaseException | None = None
        threading.Thread(target=self._read, args=(arrivals, start), name="arrivals", daemon=True).start()

    def join(self, within: float) -> bool:
        """Wait until every task is submitted and answered; False if that takes longer than `within` seconds.

        Raises what a submission raised.
        """
        with self._lock:
            self._answered.wait_for(lambda: not self._open or self._error is not None, max(0.0, within))
            if self._error is not None:
                raise self._error
            return not self._open

    def stop(self) -> None:
        """Submit no more tasks; waits a few seconds for submissions in progress."""
        self._stop.set()
        with self._lock:
            self._open -= len(self._waiting)
            self._waiting.clear()
            self._due.notify_all()
            self._answered.wait_for(lambda: not self._open, _LAST_SUBMISSION_SECONDS)

    def _read(self, arrivals: Iterable[Arrival], start: float) -> None:
        try:
            for tasks in _batches(arrivals, start=start, stop=self._stop, noticed=self._noticed):
                self._hand_over(tasks)
        except BaseException as error:  # noqa: BLE001 - `join` raises it
            self._fail(error)
        self._close_one()

    def _hand_over(self, tasks: list[TaskSpec]) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._waiting.append(tasks)
            self._open += 1
            if len(self._waiting) > self._free and self._clients < self._most:
                self._add_client()
            self._due.notify()

    def _add_client(self) -> None:
        name = f"client-{self._clients + 1}"
        try:
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        except RuntimeError:  # the system has no more threads
            if not self._clients:
                raise
            self._most = self._clients
            return
        self._clients += 1
        self._free += 1

    def _serve(self) -> None:
        while tasks := self._next():
            try:
                self._client.submit(tasks)
            except BaseException as error:  # noqa: BLE001 - `join` raises it
                self._fail(error)
            with self._lock:
                self._free += 1
            self._close_one()

    def _next(self) -> list[TaskSpec]:
        """The tasks of the next submission; empty at the end of the run."""
        with self._lock:
            self._due.wait_for(lambda: bool(self._waiting) or self._stop.is_set())
            if self._stop.is_set():
                return []
            self._free -= 1
            tasks = self._waiting.popleft()
            # More submissions wait than clients are free: together they need one answer only.
            while len(self._waiting) > self._free and len(tasks) + len(self._waiting[0]) <= _BATCH:
                tasks += self._waiting.popleft()
                self._open -= 1
            return tasks

    def _fail(self, error: BaseException) -> None:
        self._stop.set()
        with self._lock:
            self._error = self._error or error
        if self._failed is not None:
            self._failed.set()

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1
            self._answered.notify_all()


def _batches(
    arrivals: Iterable[Arrival],
    *,
    start: float,
    stop: threading.Event,
    noticed: Callable[[float], object] | None,
) -> Iterator[list[TaskSpec]]:
    """Each task at its time, together with all that are overdue; ends early once `stop` is set."""
    batch: list[TaskSpec] = []
    due = start
    for arrival in arrivals:
        due += arrival.delay
        if batch and (due > time.monotonic() or len(batch) >= _BATCH):
            yield batch
            batch = []
        if stop.wait(max(0.0, due - time.monotonic())):
            return
        if noticed is not None:
            noticed(max(0.0, time.monotonic() - due))
        batch.append(replace(arrival.task, intended=round(due * NANOSECONDS)))
    if batch:
        yield batch
