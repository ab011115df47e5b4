"""Faults that strike at a call of one process to a server, and the network that all calls pass through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from harness.history.figures import NANOSECONDS
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Process

# Seconds that a request or a reply takes on its way.
FASTEST, SLOWEST = 0.0002, 0.004


TRANSACTION = "transaction"
"""The name of each call of Postgres, whose request does not say what it is for."""


class CallFault(StrEnum):
    """What can happen to a process at one of its calls."""

    KILL = "kill"
    STALL = "stall"
    LOSE_REQUEST = "lose-request"
    LOSE_REPLY = "lose-reply"
    LATE_REQUEST = "late-request"


# The events of `harness.simulation.reach` begin with these, for faults after the server's work.
_STRUCK = {
    CallFault.KILL: "killed-after",
    CallFault.STALL: "stalled-after",
    CallFault.LOSE_REQUEST: "reply-lost",
    CallFault.LOSE_REPLY: "reply-lost",
    CallFault.LATE_REQUEST: "reply-lost",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingFault:
    """A fault that will strike at a later call of a process.

    `skip` calls pass first. With `after` it strikes between the server's work and the reply, otherwise before the
    request. `seconds` is how long a stall or a late request takes. `strike` is called when it strikes.
    """

    kind: CallFault
    after: bool
    skip: int
    seconds: float
    strike: Callable[[], None]


@dataclass(slots=True)
class _Countdown:
    fault: PendingFault
    calls_left: int


class CallPoint(NamedTuple):
    """One side of a call, at `at` virtual nanoseconds: before its request, or after the server's work.

    `calls` are the names of what the server did; the request has none. `request` is the name of the call that it asks
    for, `TRANSACTION` for any of Postgres.
    """

    at: int
    process: Process
    after: bool
    calls: Sequence[str]
    request: str


class Request(NamedTuple):
    """What a process asks of a server: the name of the call, and its arguments where the network sees them."""

    name: str
    arguments: Sequence[Any] = ()


_TRANSACTION = Request(TRANSACTION)


class StruckCall(NamedTuple):
    """The side of a call at which a fault strikes."""

    point: CallPoint
    request: Request


Side = tuple[int, Process, bool, Sequence[str], str]


@dataclass(slots=True)
class CallFaults:
    """The pending faults of all processes, those at points of the run, and what those that struck have reached.

    `sides` are the fields of the `CallPoint` of each side of a call so far: a run has a thousand of them, and a
    campaign reads none. A fault at a point returns what its process meets, None for nothing. `struck` is the call that
    a fault strikes now. `silent_until` says until when a process gets no answer from Postgres.
    """

    pending: dict[Process, list[_Countdown]] = field(default_factory=dict)
    sides: list[Side] = field(default_factory=list)
    at_points: dict[int, Callable[[CallPoint], PendingFault | None]] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)  # names of events: which fault struck at which call
    struck: StruckCall | None = None
    silent_until: dict[Process, int] = field(default_factory=dict)

    def add(self, process: Process, fault: PendingFault) -> None:
        """Let a fault strike at a later call of a process."""
        self.pending.setdefault(process, []).append(_Countdown(fault, fault.skip))

    def withdraw(self, process: Process, fault: PendingFault) -> bool:
        """Remove a fault; False if it has struck already."""
        left = [pending for pending in self.pending.get(process, ()) if pending.fault is not fault]
        still_there = len(left) < len(self.pending.get(process, ()))
        self.pending[process] = left
        return still_there

    def take(
        self,
        now: int,
        process: Process,
        *,
        after: bool,
        calls: Sequence[str] = (),
        request: Request = _TRANSACTION,
    ) -> PendingFault | None:
        """Remove and return the fault that strikes at this side of a call, if there is one; `calls` are its names."""
        side: Side = (now, process, after, calls, request.name)
        at_point = self.at_points.get(len(self.sides)) if self.at_points else None
        self.sides.append(side)
        if at_point is not None:
            self.struck = StruckCall(point := CallPoint(*side), request)
            return at_point(point)
        for pending in self.pending.get(process, ()):
            if pending.fault.after == after:
                if pending.calls_left:
                    pending.calls_left -= 1
                    return None
                self.pending[process].remove(pending)
                self.struck = StruckCall(CallPoint(*side), request)
                pending.fault.strike()
                self.reached.update(f"{_STRUCK[pending.fault.kind]}-{call}" for call in calls)
                return pending.fault
        return None


class LostCall(Exception):
    """A call whose reply never arrives; the server may have done its work, or may do it later."""


class Network:
    """The network between one process and one server: request and reply each take time and may meet a fault."""

    def __init__(self, runtime: VirtualRuntime, process: Process, faults: CallFaults) -> None:
        self._scheduler = runtime.scheduler
        self._process = process
        self._faults = faults

    def request(self, request: Request = _TRANSACTION) -> float | None:
        """Deliver a request: None if it has arrived, or the seconds after which it will arrive late.

        The sender of a late request has stopped waiting by then. Raises `LostCall` if the request is lost.
        """
        self._travel()
        if request.name == TRANSACTION and self._process in self._faults.silent_until:
            self._wait_for_answers()
        fault = self._faults.take(self._scheduler.now, self._process, after=False, request=request)
        if fault is None:
            return None
        if fault.kind is CallFault.LATE_REQUEST:
            return fault.seconds
        if fault.kind in (CallFault.LOSE_REQUEST, CallFault.LOSE_REPLY):
            raise LostCall
        self._strike(fault)
        return None

    def reply(self, *calls: str, request: Request = _TRANSACTION) -> None:
        """Deliver the reply to a call of these names; raises `LostCall` if it is lost."""
        now = self._scheduler.now
        fault = self._faults.take(now, self._process, after=True, calls=calls, request=request)
        if fault is not None:
            if fault.kind not in (CallFault.KILL, CallFault.STALL):
                raise LostCall
            self._strike(fault)
        self._travel()

    def _wait_for_answers(self) -> None:
        """Wait while Postgres is silent for this process; its request arrives after that."""
        while (left := self._faults.silent_until[self._process] - self._scheduler.now) > 0:
            self._scheduler.pause(left / NANOSECONDS)

    def _travel(self) -> None:
        # As `uniform` of these draws it, in half of the time.
        self._scheduler.pause(FASTEST + (SLOWEST - FASTEST) * self._process.rng.random())

    def _strike(self, fault: PendingFault) -> None:
        scheduler = self._scheduler
        if fault.kind is CallFault.KILL:
            raise scheduler.end_current(-9)
        scheduler.stall(self._process, fault.seconds)
        scheduler.pause(0)  # no thread of this process runs until the stall is over
