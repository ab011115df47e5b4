"""Counters of tasks, independent of any metrics library: a few dictionary additions per batch.

Every process has counters of its own. A worker process reports its increments to the pool's parent through a pipe
(`Reporter`), and the parent adds them to its counters. The parent's counters therefore never decrease. A killed
worker loses only the increments of its last batch; what it wrote to the pipe survives it.

A duration is two counters: one of its histogram bucket, one of its seconds.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import threading
from collections.abc import Mapping, Sequence

# Upper bounds in seconds: no-ops take milliseconds, calls of a model seconds, agents minutes.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
# Task names with counters of their own; more share `OTHER`, since clients of an API may invent names without end.
MAX_NAMES = 500
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

EXPIRED, WORKER_DIED = "expired", "worker_died"  # why a lease was released

_BY_TASK_NAME = (QUEUED, COMPLETED, DURATION_BUCKET, DURATION_SUM)

Key = tuple[str, ...]  # the counter and its label values


class Counters:
    """Counters by name and label values. Safe to use from any thread."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start from nothing. A forked child does so: what was counted before belongs to its parent."""
        self._lock = threading.Lock()
        self._counts: dict[Key, float] = {}
        self._names: set[str] = set()

    def add(self, counter: str, *labels: str, amount: float = 1) -> None:
        """Add to a counter; an amount of 0 creates none. The first label of a counter of tasks is the task name."""
        if amount:
            with self._lock:
                self._add(counter, labels, amount)

    def ran(self, task_name: str, seconds: float) -> None:
        """Count the end of a handler, whatever its result, and its duration."""
        with self._lock:
            self._add(DURATION_BUCKET, [task_name, str(bisect.bisect_left(BUCKETS, seconds))], 1)
            self._add(DURATION_SUM, [task_name], seconds)

    def counts(self) -> dict[Key, float]:
        """A copy of all counters."""
        with self._lock:
            return dict(self._counts)

    def drain(self) -> dict[Key, float]:
        """The counters since the last call; resets them."""
        with self._lock:
            taken, self._counts = self._counts, {}
            return taken

    def absorb(self, counts: Mapping[Key, float]) -> None:
        """Add the increments of another process."""
        with self._lock:
            for (counter, *labels), amount in counts.items():
                self._add(counter, labels, amount)

    def _add(self, counter: str, labels: Sequence[str], amount: float) -> None:
        if counter in _BY_TASK_NAME:
            labels = [self._name(labels[0]), *labels[1:]]
        key = (counter, *labels)
        self._counts[key] = self._counts.get(key, 0) + amount

    def _name(self, task_name: str) -> str:
        if task_name in self._names:
            return task_name
        if len(self._names) >= MAX_NAMES:
            return OTHER
        self._names.add(task_name)
        return task_name


COUNTERS = Counters()
"""The counters of this process."""

os.register_at_fork(after_in_child=COUNTERS.reset)


def decoded(line: bytes) -> dict[Key, float]:
    """The counters of a line of a `Reporter`; empty for a truncated line, such as the last one of a killed worker."""
    try:
        return {tuple(key): amount for *key, amount in json.loads(line[: line.rindex(b"\n")])}
    except ValueError:
        return {}


class Reporter:
    """Writes counters and other lines to a pipe without blocking. Safe to use from any thread.

    What does not fit into the pipe is written with the next line or report.
    """

    def __init__(self, fd: int, counters: Counters = COUNTERS) -> None:
        """Write to `fd`, which `close` closes."""
        self._fd = fd
        self._counters = counters
        self._lock = threading.Lock()
        self._rest = b""
        os.set_blocking(fd, False)

    def send(self, line: bytes) -> None:
        """Write a line. Lines of several threads do not interleave."""
        with self._lock:
            self._rest += line
            self._write()

    def report(self) -> None:
        """Write the counters since the last report, as far as there is room."""
        with self._lock:
            if not self._rest:
                self._rest = self._counted()
            self._write()

    def close(self) -> None:
        """Write the rest, waiting while the pipe is full, then close the pipe."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            os.set_blocking(self._fd, True)
            with os.fdopen(self._fd, "wb") as pipe:
                pipe.write(self._rest + self._counted())

    def _counted(self) -> bytes:
        rows = [[*key, amount] for key, amount in self._counters.drain().items()]
        return json.dumps(rows, separators=(",", ":")).encode() + b"\n" if rows else b""

    def _write(self) -> None:
        if self._rest:
            # BlockingIOError: the pipe is full. BrokenPipeError: the parent is gone.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                self._rest = self._rest[os.write(self._fd, self._rest) :]
