"""Threads, events, conditions and mailboxes on the virtual clock, for `agentexec.core.runtime`."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from harness.history.figures import NANOSECONDS
from harness.simulation.scheduler import Process, Scheduler, Wakeup

T = TypeVar("T")
# The share of lock acquisitions before which another thread may run.
PREEMPTED = 0.1


class VirtualEvent:
    """An event whose waiters wait in virtual time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False
        self._waiters: list[Wakeup] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._scheduler.wake(self._waiters, len(self._waiters))

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        return _wait_for(self._scheduler, self._waiters, lambda: self._set, timeout)


class VirtualCondition:
    """A condition without a lock: simulated threads switch only where they wait."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: list[Wakeup] = []

    def __enter__(self) -> bool:
        scheduler = self._scheduler
        if scheduler.in_thread() and scheduler.random.random() < PREEMPTED:
            scheduler.pause(0)
        return True

    def __exit__(self, *_: Any) -> None:
        return None

    def notify(self) -> None:
        self._scheduler.wake(self._waiters)

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        return _wait_for(self._scheduler, self._waiters, predicate, timeout)


class VirtualMailbox(Generic[T]):
    """A queue between threads of one process, or a pipe between processes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[T] = deque()
        self._waiters: list[Wakeup] = []

    def put(self, item: T) -> None:
        self._items.append(item)
        self._scheduler.wake(self._waiters)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        if not self._items and block:
            _wait_for(self._scheduler, self._waiters, lambda: bool(self._items), timeout)
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class VirtualThread:
    """A started thread."""

    def __init__(self, scheduler: Scheduler, process: Process, work: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._work = work
        self._over = False
        self._waiters: list[Wakeup] = []
        scheduler.spawn(process, self._run)

    def join(self, timeout: float | None = None) -> None:
        _wait_for(self._scheduler, self._waiters, lambda: self._over, timeout)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._over = True
            self._scheduler.wake(self._waiters, len(self._waiters))


def _wait_for(
    scheduler: Scheduler, waiters: list[Wakeup], predicate: Callable[[], T], timeout: float | None
) -> T:
    deadline = None if timeout is None else scheduler.seconds(timeout)
    while not (answer := predicate()):
        left = None if deadline is None else (deadline - scheduler.now) / NANOSECONDS
        if left is not None and left <= 0:
            break
        scheduler.wait(waiters, left)
    return answer
