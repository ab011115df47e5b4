"""What may go wrong at a call to a server, decided where every call passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from harness.simulation.scheduler import Process
from harness.simulation.world import VirtualRuntime

FASTEST, SLOWEST = 0.0002, 0.004  # seconds that one way of a call takes


class CallFault(StrEnum):
    """What can befall a process at its next call: the fault strikes in the middle of something."""

    KILL = "kill"
    STALL = "stall"
    LOSE_REQUEST = "lose-request"
    LOSE_REPLY = "lose-reply"
    LATE_REQUEST = "late-request"


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingFault:
    """An ill that waits for a process. `after` strikes once the server has done what was asked, before the reply;
    `skip` lets so many calls pass first; `seconds` is how long a stall or a late request takes.
    """

    ill: CallFault
    after: bool
    skip: int
    seconds: float
    strike: Callable[[], None]


@dataclass(slots=True)
class _Waiting:
    ambush: PendingFault
    left: int


@dataclass(slots=True)
class Trouble:
    """The ambushes that wait, per process."""

    waiting: dict[Process, list[_Waiting]] = field(default_factory=dict)

    def lie_in_wait(self, process: Process, ambush: PendingFault) -> None:
        """Set an ambush on a process."""
        self.waiting.setdefault(process, []).append(_Waiting(ambush, ambush.skip))

    def withdraw(self, process: Process, ambush: PendingFault) -> bool:
        """Take an ambush away again; False where it has struck already."""
        left = [waiting for waiting in self.waiting.get(process, ()) if waiting.ambush is not ambush]
        still_there = len(left) < len(self.waiting.get(process, ()))
        self.waiting[process] = left
        return still_there

    def meet(self, process: Process, *, after: bool) -> PendingFault | None:
        """The ambush that strikes at this side of a call, if one does; it is over then."""
        for waiting in self.waiting.get(process, ()):
            if waiting.ambush.after == after:
                if waiting.left:
                    waiting.left -= 1
                    return None
                self.waiting[process].remove(waiting)
                waiting.ambush.strike()
                return waiting.ambush
        return None


class LostCall(Exception):
    """A call whose reply will not come; `sent` says that the server did, or is going to do, what was asked."""


class Network:
    """The way from one process to one server. Both sides of each call take time, and may meet an ambush."""

    def __init__(self, runtime: VirtualRuntime, process: Process, trouble: Trouble) -> None:
        self._runtime = runtime
        self._process = process
        self._trouble = trouble

    def request(self) -> float | None:
        """On the way to the server. Raises `LostCall` where it never arrives; returns the seconds after which it is
        going to arrive where that is long after its sender stopped waiting, None where all is well.
        """
        self._travel()
        ambush = self._trouble.meet(self._process, after=False)
        if ambush is None:
            return None
        if ambush.ill is CallFault.LATE_REQUEST:
            return ambush.seconds
        if ambush.ill in (CallFault.LOSE_REQUEST, CallFault.LOSE_REPLY):
            raise LostCall
        self._suffer(ambush)
        return None

    def reply(self) -> None:
        """On the way back. Raises `LostCall` where the reply is lost."""
        ambush = self._trouble.meet(self._process, after=True)
        if ambush is not None:
            if ambush.ill not in (CallFault.KILL, CallFault.STALL):
                raise LostCall
            self._suffer(ambush)
        self._travel()

    def _travel(self) -> None:
        runtime = self._runtime
        runtime.sleep(runtime.uniform(FASTEST, SLOWEST))

    def _suffer(self, ambush: PendingFault) -> None:
        scheduler = self._runtime.scheduler
        if ambush.ill is CallFault.KILL:
            raise scheduler.end_current(-9)
        scheduler.stall(self._process, ambush.seconds)
        scheduler.pause(0)  # nothing more of this process runs until it goes on
