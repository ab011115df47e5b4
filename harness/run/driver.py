"""The client of a run: it submits each task at its intended time, in its own thread, independent of the faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from harness.targets.base import TaskSpec
from harness.workloads.base import WorkloadClient
from harness.workloads.generator import Arrival

# The most tasks of one submission when the client is late.
_BATCH = 100
_LAST_SUBMISSION_SECONDS = 5.0


def drive(client: WorkloadClient, arrivals: Iterable[Arrival], *, start: float, stop: threading.Event) -> int:
    """Submit each task at its time after `start` (by `time.monotonic`) until `stop`; returns how many were submitted.

    Overdue tasks are submitted together at once, so a delay does not move the intended times of later tasks.
    """
    submitted = 0
    for batch in _batches(arrivals, start=start, stop=stop):
        client.submit(batch)
        submitted += len(batch)
    return submitted


def _batches(arrivals: Iterable[Arrival], *, start: float, stop: threading.Event) -> Iterator[list[TaskSpec]]:
    batch: list[TaskSpec] = []
    due = start
    for arrival in arrivals:
        due += arrival.delay
        if batch and (due > time.monotonic() or len(batch) >= _BATCH):
            yield batch
            batch = []
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        batch.append(arrival.task)
    if batch and not stop.is_set():
        yield batch


class Driver:
    """`drive` in a thread; `join` raises what it raised."""

    def __init__(self, client: WorkloadClient, arrivals: Iterable[Arrival], *, start: float) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(client, arrivals, start), name="client", daemon=True
        )
        self._thread.start()

    def join(self, within: float) -> bool:
        """Wait until every task is submitted; False if that takes longer than `within` seconds."""
        self._thread.join(max(0.0, within))
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Submit no more tasks; waits a few seconds for a submission in progress."""
        self._stop.set()
        self._thread.join(_LAST_SUBMISSION_SECONDS)

    def _run(self, client: WorkloadClient, arrivals: Iterable[Arrival], start: float) -> None:
        try:
            drive(client, arrivals, start=start, stop=self._stop)
        except BaseException as error:  # noqa: BLE001 - `join` raises it
            self._error = error
