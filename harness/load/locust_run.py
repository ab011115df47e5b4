"""The load of one process of Locust, whatever its part: the start, the refusal and the end of a test."""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent

from harness.errors import EXIT_UNKNOWN, EXIT_USAGE, HarnessError, UsageError
from harness.load import locust_preflight
from harness.load.locust_options import LoadOptions
from harness.load.locust_registry import ShapeLike
from harness.load.locust_test import Assignment, LoadPlan, LoadTest, NoSender, Sender
from harness.load.producing import EXPECTED
from harness.load.shape import OpenShape
from harness.load.target import LoadTarget
from harness.load.task_log import ENV_FOLDER, TaskLog
from harness.load.thresholds import Threshold, parse_conditions
from harness.masking import masked

POLL_SECONDS = 0.05
# How long arrivals wait for the first user of a process; after that they are due without one.
_USERS_SECONDS = 10.0
# What the end of a load process takes beside its bounds: messages, and a machine that is busy.
_MARGIN_SECONDS = 15.0


class LocustLoad(ABC):
    """The load of one process of Locust: alone, as a master, or as a load worker."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self.environment = environment
        self.runner = runner
        self.test: LoadTest | None = None
        self.plan = LoadPlan(schedule=None, seconds=None)
        self.until: tuple[Threshold, ...] = ()
        self.ended = True
        self.concluded = threading.Event()
        self.concluded.set()
        self._own_host: str | None = environment.host

    def register(self) -> None:
        """Listen to Locust's events and messages."""
        events = self.environment.events
        events.test_start.add_listener(self._start)
        events.spawning_complete.add_listener(self.begin)
        events.test_stopping.add_listener(self._stopping)
        events.test_stop.add_listener(self.stop)
        # Locust decides its exit code after this event, and on Ctrl-C it has not stopped the test before.
        events.quitting.add_listener(self.quitting)

    def options(self) -> LoadOptions:
        """The options as they are now: the web page may have changed them."""
        return LoadOptions.of(self.environment.parsed_options, self.environment.host, self._own_host)

    def sender(self) -> Sender:
        """What sends the tasks of a new user."""
        return self.test or NoSender()

    @abstractmethod
    def users(self, shape: ShapeLike) -> int | None:
        """The number of users that a shape wants now, None at the end of the load."""

    @abstractmethod
    def prepare(self, options: LoadOptions, target: LoadTarget) -> None:
        """Prepare a test; raises why it cannot begin."""

    @abstractmethod
    def refuse(self, sentence: str, code: int) -> None:
        """End a test before it begins; the sentence is the reason."""

    @abstractmethod
    def conclude(self) -> None:
        """End a test. This runs in a greenlet of its own, which nothing kills."""

    @abstractmethod
    def quitting(self, **_: Any) -> None:
        """Let a test that still runs come to its end before the process does."""

    # The start

    def _start(self, **_: Any) -> bool:
        """Prepare a test; returns whether it can begin."""
        self.ended = False
        self.concluded.clear()
        try:
            options = self.options()
            self.prepare(options, options.target())
        except (HarnessError, *EXPECTED) as error:
            self.ended = True
            self.concluded.set()
            sentence = masked(locust_preflight.refusal(error))
            print(f"load: {sentence}", file=sys.stderr, flush=True)
            self.refuse(sentence, EXIT_USAGE if isinstance(error, UsageError) else EXIT_UNKNOWN)
            return False
        return True

    def plan_for(self, shape: Any, limit: float | None) -> None:
        """Plan the load of a shape that ends after `limit` seconds, None for no limit; raises `UsageError`."""
        self.plan = locust_preflight.plan_of(shape, limit)
        until = shape.until if isinstance(shape, OpenShape) else None
        self.until = parse_conditions(until) if until else ()

    def open(self, options: LoadOptions, target: LoadTarget, part: Assignment) -> LoadTest:
        """Connect this process to the servers, for its part of the load."""
        folder = os.environ.get(ENV_FOLDER)
        self.test = LoadTest(
            options,
            target,
            self.plan,
            part,
            log=TaskLog(Path(folder) if folder else None),
            report=self.environment.events.request.fire,
        )
        self.test.start(locust_preflight.queues(self.environment, options))
        return self.test

    def begin(self, **_: Any) -> None:
        """Let the load begin: Locust has made its first users."""
        if not self.ended and self.test is not None:
            gevent.spawn(self._begin_with_users, self.test)

    def _begin_with_users(self, test: LoadTest) -> None:
        """Begin once this process has users: a master says that all are spawned after a second in any case."""
        deadline = time.monotonic() + _USERS_SECONDS
        while not (weights := locust_preflight.weights(self.environment, self.runner)):
            if test is not self.test or time.monotonic() > deadline:
                break
            gevent.sleep(POLL_SECONDS)
        self.begin_test(test, weights or locust_preflight.weights(self.environment, None))

    def begin_test(self, test: LoadTest, weights: Mapping[str, float]) -> None:
        """Let a test begin in this process, which has its users; `weights` are those of their classes."""
        test.begin(weights)

    # The end

    def patience(self) -> float:
        """The seconds until every process has ended its load."""
        return float(self.environment.stop_timeout + self.options().drain + _MARGIN_SECONDS)

    def _stopping(self, **_: Any) -> None:
        if self.test is not None:
            self.test.stop()

    def stop(self, **_: Any) -> None:
        """Begin the end of a test, once."""
        if not self.ended:
            self.ended = True
            # In a greenlet of its own from the first statement: Locust kills this one on Ctrl-C, at any wait.
            gevent.spawn(self.conclude).link(lambda _: self.concluded.set())
