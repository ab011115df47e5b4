"""Hands due arrivals to free users: the schedule decides when a task is due, and never the system under test.

A thread (a greenlet under Locust) waits for the next intended time and puts the arrival into the line of a user class.
A free user of that class takes it. If every user waits for an answer, the arrival waits in its line and gets late. This
module does not import gevent; without it the same code runs on real threads. All times are those of `time.monotonic`.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from harness.errors import describe_error
from harness.load.joining import Join, from_second
from harness.load.schedule import PlannedArrival


class Stopped(Exception):
    """The load has ended: there are no further arrivals."""


class Taken(NamedTuple):
    """An arrival that a user took. `lateness` is the part of its delay, in seconds, that the generator caused itself.

    A delay because all users waited for answers is not the generator's own; it counts in every latency.
    """

    arrival: PlannedArrival
    intended: float
    lateness: float


class _Offer(NamedTuple):
    arrival: PlannedArrival
    intended: float
    offered: float


class Arriving:
    """The arrivals of one process, from their intended times until users take them.

    `choose` names the line of an arrival, which is the user class that handles it. `epoch` is the start of the load, 0
    before that. `due` arrivals have reached their intended time; `taken` of them were taken by users. `exhausted`
    means that there are no further arrivals: the schedule has none, or `failure` says why its thread has ended.
    """

    def __init__(self, arrivals: Iterator[PlannedArrival], choose: Callable[[PlannedArrival], str]) -> None:
        self._arrivals = arrivals
        self._choose = choose
        self._lines: dict[str, queue.SimpleQueue[_Offer | None]] = {}
        self._stopping = threading.Event()
        self._ended = math.inf
        self._thread = threading.Thread(target=self._run, name="load-arrivals", daemon=True)
        self.epoch = 0.0
        self.due = 0
        self.taken = 0
        self.exhausted = False
        self.failure: str | None = None
        self._joins: list[Join] = []
        self._own: Join | None = None
        self._latest = 0.0

    def start(self, elapsed: float = 0.0, join: Join | None = None) -> None:
        """Begin the load now, or join it `elapsed` seconds after its begin; a second call does nothing."""
        if not self.epoch:
            self.epoch = time.monotonic() - elapsed
            self._own = join
            self._thread.start()

    def pass_over(self, second: float) -> None:
        """Before a process joins: pass over the arrivals that others have sent."""
        self._arrivals = from_second(self._arrivals, second)

    def give_up(self, join: Join) -> bool:
        """Leave to a process that joins what it claims; False if some of that is due already."""
        self._joins.append(join)
        return self._latest < join.since

    def give_back(self, line: str, taken: Taken) -> None:
        """Return an arrival that a user took and cannot send, for another user of its line."""
        self.taken -= 1
        self._line(line).put(_Offer(taken.arrival, taken.intended, taken.intended + taken.lateness))

    @property
    def waiting(self) -> int:
        """Due arrivals that no user has taken."""
        return self.due - self.taken

    @property
    def stopped(self) -> bool:
        """Whether the load has ended."""
        return self._stopping.is_set()

    def elapsed(self) -> float:
        """Seconds since the start of the load, 0 before it."""
        return time.monotonic() - self.epoch if self.epoch else 0.0

    def take(self, line: str) -> Taken:
        """The next due arrival of a line; blocks until there is one, and raises `Stopped` after the end."""
        waiting = self._line(line)
        free_since = time.monotonic()
        offer = None if self.stopped else waiting.get()
        if offer is None:
            waiting.put(None)  # for the next user of the line
            raise Stopped
        self.taken += 1
        # A user that came after the offer was busy before.
        own = time.monotonic() if free_since <= offer.offered else offer.offered
        return Taken(offer.arrival, offer.intended, max(0.0, own - offer.intended))

    def stop(self) -> None:
        """End the load: what no user has taken is never sent. This call waits for nothing: Ctrl-C may interrupt it."""
        self._ended = time.monotonic()
        self._stopping.set()
        for line in list(self._lines.values()):
            line.put(None)

    def never_sent(self) -> Iterator[Taken]:
        """The due arrivals that no user took, after the end; can be read once."""
        if self._thread.is_alive():
            self._thread.join()
        for line in list(self._lines.values()):
            with suppress(queue.Empty):
                while True:
                    offer = line.get_nowait()
                    if offer is not None:
                        yield Taken(offer.arrival, offer.intended, max(0.0, offer.offered - offer.intended))

    def _line(self, name: str) -> queue.SimpleQueue[_Offer | None]:
        return self._lines.get(name) or self._lines.setdefault(name, queue.SimpleQueue())

    def _run(self) -> None:
        try:
            self._offer()
        except BaseException as error:  # noqa: BLE001 - also a greenlet that was killed; without it nothing is due
            self.failure = describe_error(error)
            self.exhausted = True

    def _offer(self) -> None:
        for arrival in self._arrivals:
            if self._own is not None and not self._own.claims(arrival):
                continue
            intended = self.epoch + arrival.intended
            early = intended - time.monotonic()
            # Event.wait instead of a sleep, so that the end of the load does not wait for the next arrival.
            if early > 0:
                self._stopping.wait(early)
            # What became due before the end counts as due, also where this process was too late to offer it.
            if intended > self._ended:
                return
            if any(join.claims(arrival) for join in self._joins):
                continue
            self._latest = arrival.intended
            self.due += 1
            self._line(self._choose(arrival)).put(_Offer(arrival, intended, time.monotonic()))
        self.exhausted = True
