"""The runtime of a simulation: an implementation of `agentexec.core.runtime.Runtime` on the virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar
from uuid import UUID

from agentexec.core.runtime import Condition, Event, Mailbox, Thread
from harness.history.figures import NANOSECONDS
from harness.simulation.primitives import VirtualCondition, VirtualEvent, VirtualMailbox, VirtualThread
from harness.simulation.scheduler import Process, Scheduler

T = TypeVar("T")
# Unix time at which every simulation begins, in seconds.
EPOCH = 1_800_000_000


class VirtualRuntime:
    """The runtime of all simulated processes; the scheduler knows the process whose code runs."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.processes: list[Process] = []

    def new_process(self, name: str, *, host: int = 0) -> Process:
        """Create a process. Only processes of the same host can see that it is dead."""
        process = self.scheduler.new_process(name, host)
        self.processes.append(process)
        return process

    def monotonic(self) -> float:
        return self.scheduler.now / NANOSECONDS

    def unix(self) -> float:
        """Seconds since the Unix epoch on the virtual clock, which has no error."""
        return EPOCH + self.scheduler.now / NANOSECONDS

    def sleep(self, seconds: float) -> None:
        self.scheduler.pause(seconds)

    def event(self) -> Event:
        return VirtualEvent(self.scheduler)

    def condition(self) -> Condition:
        return VirtualCondition(self.scheduler)

    def mailbox(self) -> Mailbox[T]:
        return VirtualMailbox(self.scheduler)

    def spawn(self, work: Callable[[], None], *, name: str) -> Thread:
        return VirtualThread(self.scheduler, self._here(), work)

    def new_id(self) -> UUID:
        chance = self.scheduler.random.getrandbits(74)
        value = (round(self.unix() * 1000) & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | 0b10 << 62
        return UUID(int=value | (chance >> 62) << 64 | chance & 0x3FFF_FFFF_FFFF_FFFF)

    def nonce(self) -> str:
        return f"{self.scheduler.random.getrandbits(128):032x}"

    def uniform(self, low: float, high: float) -> float:
        return self.scheduler.random.uniform(low, high)

    def identity(self) -> str:
        here = self._here()
        return f"host-{here.host}|{here.pid}|1"

    def is_certainly_dead(self, identity: str) -> bool:
        host, pid, _ = identity.split("|")
        if host != f"host-{self._here().host}":
            return False
        number = int(pid)
        return not any(process.pid == number and process.alive for process in self.processes)

    def end_process(self, code: int) -> NoReturn:
        raise self.scheduler.end_current(code)

    def _here(self) -> Process:
        process = self.scheduler.process
        assert process is not None, "only a process has threads"
        return process
