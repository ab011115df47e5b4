"""What this process counts about tasks, without any metrics library: a few dictionary additions per batch.

Every process counts into its own tally. Worker processes report what they counted since the last report through the
pipe that also says that they are ready (`Reporter`), and the pool's parent adds it to its own. So the parent's
numbers never fall: a worker that is killed has handed over all but what it counted within its last batch, and what
is in the pipe outlives it.

Everything is a counter. A duration is one, too: of the bucket it falls into, and of its seconds.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import threading
from collections.abc import Iterable, Mapping

# Upper bounds in seconds: no-ops in milliseconds, calls of a model in seconds, agents in minutes.
BUCKETS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
)
MAX_NAMES = 500  # task names that get a series of their own: an open API must not fill the memory with names
OTHER = "(other)"

QUEUED = "tasks_queued"
COMPLETED = "tasks_completed"
DURATION_BUCKET = "task_duration_bucket"
DURATION_SUM = "task_duration_sum"
STALE = "stale_finishes"
REDELIVERED = "redeliveries"
LOST = "leases_lost"
REAPED = "leases_reaped"
WORKER_DEATHS = "worker_deaths"

EXPIRED, WORKER_DIED = "expired", "worker_died"  # why a lease was taken back

Key = tuple[str, ...]  # the counter, then its label values


class Counters:
    """Counters by name and labels. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, float] = {}
        self._names: set[str] = set()

    def add(self, counter: str, *labels: str, amount: float = 1) -> None:
        """Count; nothing appears for an amount of 0."""
        if amount:
            with self._lock:
                self._add((counter, *labels), amount)

    def queued(self, task_names: Iterable[str]) -> None:
        """Tasks were recorded, one for each name."""
        with self._lock:
            for name in task_names:
                self._add((QUEUED, self._name(name)), 1)

    def ran(self, task_name: str, seconds: float) -> None:
        """A handler ended, however it ended."""
        with self._lock:
            name = self._name(task_name)
            self._add((DURATION_BUCKET, name, str(bisect.bisect_left(BUCKETS, seconds))), 1)
            self._add((DURATION_SUM, name), seconds)

    def completed(self, task_name: str, status: str) -> None:
        """A task reached a terminal status."""
        with self._lock:
            self._add((COMPLETED, self._name(task_name), status), 1)

    def counts(self) -> dict[Key, float]:
        """A copy of everything counted so far."""
        with self._lock:
            return dict(self._counts)

    def drain(self) -> dict[Key, float]:
        """Everything counted since the last call; the counting starts again at nothing."""
        with self._lock:
            taken, self._counts = self._counts, {}
            return taken

    def absorb(self, counts: Mapping[Key, float]) -> None:
        """Add what another process counted."""
        with self._lock:
            for (counter, *labels), amount in counts.items():
                named = counter in (QUEUED, COMPLETED, DURATION_BUCKET, DURATION_SUM)
                self._add(
                    (counter, self._name(labels[0]), *labels[1:]) if named else (counter, *labels), amount
                )

    def _add(self, key: Key, amount: float) -> None:
        self._counts[key] = self._counts.get(key, 0) + amount

    def _name(self, task_name: str) -> str:
        if task_name in self._names:
            return task_name
        if len(self._names) >= MAX_NAMES:
            return OTHER
        self._names.add(task_name)
        return task_name


COUNTERS = Counters()
"""The tally of this process."""


def encoded(counts: Mapping[Key, float]) -> bytes:
    """Counts as one line."""
    return (
        json.dumps([[*key, amount] for key, amount in counts.items()], separators=(",", ":")).encode() + b"\n"
    )


def decoded(line: bytes) -> dict[Key, float]:
    """Counts of a line; none of one that is cut off, as the last one of a killed worker may be."""
    if not line.endswith(b"\n"):
        return {}
    return {tuple(key): amount for *key, amount in json.loads(line)}


class Reporter:
    """Hands a tally's counts, and other lines, to the parent through a pipe, and never waits for it.

    What a full pipe does not take now goes with the next line or report. Safe to use from any thread.
    """

    def __init__(self, fd: int, tally: Counters = COUNTERS) -> None:
        """Report through `fd`, which is closed by `close`."""
        self._fd = fd
        self._tally = tally
        self._lock = threading.Lock()
        self._rest = b""
        os.set_blocking(fd, False)

    def say(self, line: bytes) -> None:
        """Send a line, never into the middle of another one."""
        with self._lock:
            self._rest += line
            self._write()

    def report(self) -> None:
        """Send what was counted since the last report, as far as the pipe takes it."""
        with self._lock:
            if not self._rest:
                self._rest = self._counted()
            self._write()

    def close(self) -> None:
        """Send the rest, waiting for the parent to take it, then close the pipe."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            os.set_blocking(self._fd, True)
            with os.fdopen(self._fd, "wb") as pipe:
                pipe.write(self._rest + self._counted())

    def _counted(self) -> bytes:
        counts = self._tally.drain()
        return encoded(counts) if counts else b""

    def _write(self) -> None:
        if self._rest:
            with contextlib.suppress(
                BlockingIOError, BrokenPipeError
            ):  # full: next time; broken: nobody listens
                self._rest = self._rest[os.write(self._fd, self._rest) :]
