"""One thread, a virtual clock, and a seed that decides what happens first.

Every simulated thread is a greenlet that runs until it waits. What is to happen next lies in one heap by virtual time;
among events of the same moment the seed draws. So a run is a function of its seed: no real clock, no real thread and
no order of a hash can change it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush

from greenlet import GreenletExit, getcurrent, greenlet

NANOSECONDS = 1_000_000_000


class Process:
    """A simulated operating-system process: it can die and stand still, and takes its threads with it."""

    def __init__(self, name: str, pid: int, chance: random.Random, host: int) -> None:
        self.name = name
        self.pid = pid
        self.host = host
        self.chance = chance  # of its own, so that what is left out elsewhere does not change its luck
        self.alive = True
        self.stalled_until = 0  # in virtual nanoseconds
        self.threads: dict[greenlet, None] = {}  # in order of their birth: sets have no order of their own
        self.at_exit: list[Callable[[int], None]] = []

    def __repr__(self) -> str:
        return f"<{self.name} pid {self.pid}>"


_Entry = tuple[int, float, int, Process | None, Callable[[], object]]


class Wakeup:
    """A thread that waits; whoever is first, the waker or its time-out, lets it go on."""

    __slots__ = ("fired", "process", "thread")

    def __init__(self, thread: greenlet, process: Process) -> None:
        self.thread = thread
        self.process = process
        self.fired = False


class Scheduler:
    """The heap, the clock and the dice. Only one exists while a simulation runs."""

    def __init__(self, seed: int) -> None:
        self.now = 0  # virtual nanoseconds since the beginning
        self._seed = seed
        self._chance = _dice(seed, "world")
        self.process: Process | None = None  # whose code runs now; None for the world's own
        self.escaped: list[
            tuple[Process | None, BaseException]
        ] = []  # what no thread should have let through
        self._hub = getcurrent()
        self._heap: list[_Entry] = []
        self._count = 0
        self._pids = 100

    def new_process(self, name: str, host: int) -> Process:
        """A process of a host that runs nothing yet."""
        self._pids += 1
        return Process(name, self._pids, _dice(self._seed, f"{name} {self._pids}"), host)

    @property
    def random(self) -> random.Random:
        """The dice of whoever runs."""
        return self._chance if self.process is None else self.process.chance

    def at(self, when: int, process: Process | None, work: Callable[[], object]) -> None:
        """Do `work` at a virtual time, if its process lives then; once it goes on where it stands still."""
        self._count += 1
        luck = (self._chance if process is None else process.chance).random()
        entry: _Entry = (max(when, self.now), luck, self._count, process, work)
        heappush(self._heap, entry)

    def soon(self, process: Process | None, work: Callable[[], object]) -> None:
        """Do `work` in the next moment, before or after whatever else happens in it."""
        self.at(self.now, process, work)

    def seconds(self, seconds: float) -> int:
        """The virtual time that many seconds from now."""
        return self.now + round(seconds * NANOSECONDS)

    def run(self, until: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Let events happen up to a virtual time; True once `done` says so, asked after each event."""
        while self._heap and self._heap[0][0] <= until:
            when, tie, count, process, work = heappop(self._heap)
            self.now = when
            if process is not None:
                if not process.alive:
                    continue
                if process.stalled_until > when:
                    heappush(self._heap, (process.stalled_until, tie, count, process, work))
                    continue
            self.process = process
            try:
                work()
            except Exception as error:  # noqa: BLE001 - outside of all threads: told like what a thread lets through
                self.escaped.append((process, error))
            if done():
                return True
        self.now = max(self.now, until)
        return done()

    # Threads.

    def spawn(self, process: Process, work: Callable[[], object]) -> greenlet:
        """Start a thread of a process."""
        thread = greenlet(lambda: self._live(process, work), parent=self._hub)
        process.threads[thread] = None
        self.soon(process, thread.switch)
        return thread

    def in_thread(self) -> bool:
        """Whether the running code may wait: callbacks of an event loop may not."""
        return getcurrent() is not self._hub

    def pause(self, seconds: float) -> None:
        """Let the calling thread wait that long."""
        process = self._require_process()
        self.at(self.seconds(seconds), process, getcurrent().switch)
        self._switch(process)

    def wait(self, waiters: list[Wakeup], timeout: float | None) -> None:
        """Let the calling thread wait until somebody wakes it, at most `timeout` seconds."""
        process = self._require_process()
        wakeup = Wakeup(getcurrent(), process)
        waiters.append(wakeup)
        if timeout is not None:
            self.at(self.seconds(timeout), process, lambda: self._fire(wakeup))
        try:
            self._switch(process)
        finally:
            if wakeup in waiters:
                waiters.remove(wakeup)

    def wake(self, waiters: list[Wakeup], count: int = 1) -> None:
        """Let up to `count` of those that wait go on, the longest waiting first."""
        for wakeup in waiters[:count]:
            self.soon(wakeup.process, lambda wakeup=wakeup: self._fire(wakeup))  # type: ignore[misc]  # bound now
        del waiters[:count]

    def kill(self, process: Process, code: int) -> None:
        """End a process at once. Its threads unwind without being able to do anything more."""
        if not process.alive:
            return
        process.alive = False
        self.soon(None, lambda: self._unwind(process))
        for told in process.at_exit:
            told(code)

    def end_current(self, code: int) -> GreenletExit:
        """End the process whose thread runs; returns what that thread is to raise."""
        self.kill(self._require_process(), code)
        return GreenletExit()

    def stall(self, process: Process, seconds: float) -> None:
        """Let a process stand still for so long, as SIGSTOP does."""
        process.stalled_until = max(process.stalled_until, self.seconds(seconds))

    def unwind_all(self, processes: list[Process]) -> None:
        """At the end: leave no greenlet behind."""
        for process in processes:
            process.alive = False
            self._unwind(process)

    def _require_process(self) -> Process:
        assert self.process is not None, "only a thread of a process may wait"
        return self.process

    def _live(self, process: Process, work: Callable[[], object]) -> None:
        try:
            work()
        except GreenletExit:
            pass
        except BaseException as error:  # noqa: BLE001 - a bug of the code under test, to be reported as one
            self.escaped.append((process, error))
        finally:
            process.threads.pop(getcurrent(), None)

    def _switch(self, process: Process) -> None:
        if process.alive:
            self._hub.switch()
            self.process = process
        if not process.alive:
            raise GreenletExit

    def _fire(self, wakeup: Wakeup) -> None:
        if not wakeup.fired and wakeup.process.alive:
            wakeup.fired = True
            wakeup.thread.switch()

    def _unwind(self, process: Process) -> None:
        before, self.process = self.process, process
        for thread in list(process.threads):
            if thread is not getcurrent():
                thread.throw(GreenletExit)
        self.process = before


def _dice(seed: int, whose: str) -> random.Random:
    return random.Random(f"{seed} {whose}")  # noqa: S311 - to be repeated, not to be secret
