"""The client's side of a run: submits tasks when they are due, in a thread of its own, whatever the faults do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from harness.targets.base import TaskSpec
from harness.workloads.base import WorkloadClient
from harness.workloads.generator import Arrival

_BATCH = 100
"""Tasks that go into one submission when the client has fallen behind."""

_LAST_SUBMISSION = 5.0


def drive(client: WorkloadClient, arrivals: Iterable[Arrival], *, start: float, stop: threading.Event) -> int:
    """Submit each task at its time after `start` (`time.monotonic`), until `stop`; how many were submitted.

    Tasks that are overdue go out together at once: the intended times stay, the delay does not add up.
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
    """`drive` in a thread. What it raises is raised by `join`."""

    def __init__(self, client: WorkloadClient, arrivals: Iterable[Arrival], *, start: float) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(client, arrivals, start), name="client", daemon=True
        )
        self._thread.start()

    def join(self, within: float) -> bool:
        """Wait until everything is submitted; False if it is not within so many seconds."""
        self._thread.join(max(0.0, within))
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Submit no more; a submission that is on its way has a moment to end."""
        self._stop.set()
        self._thread.join(_LAST_SUBMISSION)

    def _run(self, client: WorkloadClient, arrivals: Iterable[Arrival], start: float) -> None:
        try:
            drive(client, arrivals, start=start, stop=self._stop)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for, in `join`
            self._error = error
