"""A deterministic scheduler: one real thread, a virtual clock, and a seed.

Every simulated thread is a greenlet that runs until it waits. Events are ordered in one heap by virtual time; the seed
draws the order of simultaneous events. A run is therefore a function of its seed: real clocks, real threads and hash
orders have no influence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from random import Random

from greenlet import GreenletExit, getcurrent, greenlet

from harness.history.figures import NANOSECONDS

# The virtual time until which a frozen process stalls, in nanoseconds.
FOREVER = 10**15
NO_THREAD = "only a thread of a process may wait"


class Process:
    """A simulated operating-system process with its threads; it can be killed and stalled."""

    def __init__(self, name: str, pid: int, rng: Random, host: int) -> None:
        self.name = name
        self.pid = pid
        self.host = host
        self.rng = rng  # its own, so that a change elsewhere does not change its draws
        self.alive = True
        self.stalled_until = 0  # in virtual nanoseconds
        self.threads: dict[greenlet, None] = {}  # a dict, because it keeps the order of insertion
        self.at_exit: list[Callable[[int], None]] = []

    def __repr__(self) -> str:
        return f"<{self.name} pid {self.pid}>"


_Entry = tuple[int, float, int, Process | None, Callable[[], object]]


class Wakeup:
    """A waiting thread; the waker or the time-out resumes it, whichever comes first."""

    __slots__ = ("fired", "process", "thread")

    def __init__(self, thread: greenlet, process: Process) -> None:
        self.thread = thread
        self.process = process
        self.fired = False


class Scheduler:
    """The event heap, the virtual clock and the random numbers of one simulation."""

    def __init__(self, seed: int) -> None:
        self.now = 0  # virtual nanoseconds since the beginning
        self._seed = seed
        self._rngs: list[Random] = []
        self._rng = self._new_rng("world")
        self.process: Process | None = None  # whose code runs now; None for code outside of all processes
        # Exceptions that no thread caught.
        self.escaped: list[tuple[Process | None, BaseException]] = []
        self._hub = getcurrent()
        self._heap: list[_Entry] = []
        self._until = 0  # the end of the present call of `run`
        self._count = 0
        self._pids = 100

    def new_process(self, name: str, host: int) -> Process:
        """Create a process on a host, without threads."""
        self._pids += 1
        return Process(name, self._pids, self._new_rng(f"{name} {self._pids}"), host)

    def divert(self, when: int, seed: int) -> None:
        """From this virtual time on, all draws are others, as of another seed. Until then, nothing changes."""

        def reseed() -> None:
            self._seed = seed
            for number, rng in enumerate(self._rngs):
                rng.seed(f"{seed} {number}")

        heappush(
            self._heap, (when, -1.0, 0, None, reseed)
        )  # before all others of this time, and without a draw

    @property
    def random(self) -> Random:
        """The random numbers of the process whose code runs."""
        return self._rng if self.process is None else self.process.rng

    def at(self, when: int, process: Process | None, work: Callable[[], object]) -> None:
        """Run `work` at a virtual time unless its process is dead; a stalled process runs it after the stall."""
        self._count += 1
        tie = (self._rng if process is None else process.rng).random()
        now = self.now
        heappush(self._heap, (when if when > now else now, tie, self._count, process, work))

    def soon(self, process: Process | None, work: Callable[[], object]) -> None:
        """Run `work` at the present virtual time, in random order with other events of this time."""
        self.at(self.now, process, work)

    def next(self, work: Callable[[], object]) -> None:
        """Run `work` before all other events, outside of all processes and without a draw; it may raise anything."""
        self._count += 1
        heappush(self._heap, (self.now, -1.0, self._count, None, work))

    def seconds(self, seconds: float) -> int:
        """The virtual time after this number of seconds from now, in nanoseconds."""
        return self.now + round(seconds * NANOSECONDS)

    def run(self, until: int) -> None:
        """Run events up to a virtual time."""
        heap, self._until = self._heap, until
        while heap and heap[0][0] <= until:
            when, tie, count, process, work = heappop(heap)
            self.now = when
            if process is not None:
                if not process.alive:
                    continue
                if process.stalled_until > when:
                    heappush(heap, (process.stalled_until, tie, count, process, work))
                    continue
            self.process = process
            try:
                work()
            except Exception as error:  # noqa: BLE001 - reported like an exception of a thread
                self.escaped.append((process, error))
        self.now = max(self.now, until)

    def spawn(self, process: Process, work: Callable[[], object]) -> greenlet:
        """Start a thread of a process."""
        thread = greenlet(lambda: self._live(process, work), parent=self._hub)
        process.threads[thread] = None
        self.soon(process, thread.switch)
        return thread

    def in_thread(self) -> bool:
        """Whether the running code may wait; callbacks of an event loop may not."""
        return getcurrent() is not self._hub

    def pause(self, seconds: float) -> None:
        """Let the calling thread sleep."""
        process, heap = self.process, self._heap
        assert process is not None, NO_THREAD
        when, tie = self.now + round(seconds * NANOSECONDS), process.rng.random()
        self._count += 1
        # Where no other event comes first, the thread goes on without two switches: half of all pauses.
        if process.stalled_until <= when <= self._until and (not heap or when < heap[0][0]) and process.alive:
            self.now = when
            return
        heappush(heap, (when, tie, self._count, process, getcurrent().switch))
        self._switch(process)

    def wait(self, waiters: list[Wakeup], timeout: float | None) -> None:
        """Let the calling thread wait until `wake` resumes it, or `timeout` seconds."""
        process = self.process
        assert process is not None, NO_THREAD
        wakeup = Wakeup(getcurrent(), process)
        waiters.append(wakeup)
        if timeout is not None:
            self.at(self.seconds(timeout), process, partial(self._fire, wakeup))
        try:
            self._switch(process)
        finally:
            if wakeup in waiters:
                waiters.remove(wakeup)

    def wake(self, waiters: list[Wakeup], count: int = 1) -> None:
        """Resume up to `count` waiting threads, the longest waiting first."""
        if not waiters or not count:  # most calls
            return
        for wakeup in waiters[:count]:
            self.soon(wakeup.process, partial(self._fire, wakeup))
        del waiters[:count]

    def kill(self, process: Process, code: int) -> None:
        """End a process at once; its threads unwind without further effects."""
        if not process.alive:
            return
        process.alive = False
        self.soon(None, lambda: self._unwind(process))
        for callback in process.at_exit:
            callback(code)

    def end_current(self, code: int) -> GreenletExit:
        """End the process whose thread runs; returns the exception that the thread must raise."""
        assert self.process is not None, NO_THREAD
        self.kill(self.process, code)
        return GreenletExit()

    def stall(self, process: Process, seconds: float) -> None:
        """Stall a process for some seconds, as SIGSTOP does."""
        process.stalled_until = max(process.stalled_until, self.seconds(seconds))

    def freeze(self, processes: Iterable[Process]) -> None:
        """Stall processes for good, as the failure of their host does that leaves its connections open."""
        for process in processes:
            process.stalled_until = FOREVER

    def unwind_all(self, processes: list[Process]) -> None:
        """End all processes and their greenlets."""
        for process in processes:
            process.alive = False
            self._unwind(process)

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

    def _new_rng(self, owner: str) -> Random:
        rng = Random(f"{self._seed} {owner}")  # noqa: S311 - repeatable, not secret
        self._rngs.append(rng)
        return rng

    def _unwind(self, process: Process) -> None:
        before, self.process = self.process, process
        for thread in list(process.threads):
            if thread is not getcurrent():
                thread.throw(GreenletExit)
        self.process = before
