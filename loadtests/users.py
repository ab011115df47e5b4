"""Locust's users: each enqueues by its own schedule and waits for the acknowledgement, like a request handler."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from locust import User, task
from locust.exception import StopUser

from loadtests.client import LoadClient
from loadtests.profiles import Profile
from loadtests.work import Work


@dataclass(frozen=True, kw_only=True)
class Load:
    """The state that all users of one test share; `epoch` is its start in seconds of `time.monotonic`.

    `stopped` is set at the end. Users are numbered from `first`, which gives the users of several
    Locust workers different schedules.
    """

    profile: Profile
    client: LoadClient
    on_cap: Callable[[], None]
    first: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    epoch: float = field(default_factory=time.monotonic)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def next_user(self) -> int:
        """The number of the next user."""
        return self.first + next(self._numbers)


class EnqueueingUser(User):
    """Enqueues one task at each of its intended times; a late user enqueues without pause until it has caught up."""

    # Set when a test starts, before any user is created.
    load: ClassVar[Load | None] = None

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        assert self.load is not None, "a test starts before its users"
        self._load = self.load
        self._number = self._load.next_user()
        self._times = self._schedule(self._load.profile)
        # A string as seed: the hash of a tuple differs between processes.
        seed = f"work/{self._load.profile.seed}/{self._number}"
        self._randomness = random.Random(seed)  # noqa: S311 - a repeatable load, no secret
        self._padding = "x" * self._load.profile.payload
        self._intended = next(self._times)

    def on_start(self) -> None:
        """Wait for the first intended time."""
        self.wait()  # type: ignore[no-untyped-call]  # Locust does not annotate it

    def wait_time(self) -> float:
        """Seconds until the next intended time."""
        return max(0.0, self._intended - time.monotonic())

    @task
    def enqueue(self) -> None:
        """Enqueue the next task."""
        # Locust kills waiting users; a user that continued here could be killed in the middle of a commit.
        if self._load.stopped.is_set():
            raise StopUser
        intended, self._intended = self._intended, next(self._times)
        work = Work(seconds=self._randomness.uniform(*self._load.profile.work), padding=self._padding)
        if not self._load.client.enqueue(self._number, work, intended=intended):
            self._load.on_cap()
            raise StopUser

    def _schedule(self, profile: Profile) -> Iterator[float]:
        start = time.monotonic() - self._load.epoch
        for moment in profile.arrivals.times(seed=profile.seed, user=self._number):
            if moment >= start:
                yield self._load.epoch + moment
