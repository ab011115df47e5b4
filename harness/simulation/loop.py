"""The event loop of a simulated worker: asyncio's own tasks and time-outs, on the virtual clock."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, cast

from harness.simulation.scheduler import NANOSECONDS, Process, Scheduler

WAKE_WITHIN = 0.0001  # seconds that a loop takes at most from having something to do to doing it


class VirtualLoop:
    """As much of an event loop as tasks, futures, time-outs and sleeps ask for; what does real I/O is not there."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process
        self.itself = cast(asyncio.AbstractEventLoop, self)  # of a loop, tasks and handles use what is here
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._due = False
        self._tasks: dict[asyncio.Task[Any], None] = {}
        process.at_exit.append(lambda _: scheduler.soon(None, self._abandon))

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self._scheduler.now / NANOSECONDS

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always: it has no beginning and no end of its own."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """See `asyncio.AbstractEventLoop`."""
        handle = asyncio.Handle(callback, args, self.itself, context)
        self._ready.append(handle)
        self._kick()
        return handle

    call_soon_threadsafe = call_soon  # there is only one real thread

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`."""
        handle = asyncio.TimerHandle(when, callback, args, self.itself, context)
        self._numbers += 1
        heappush(self._timers, (round(when * NANOSECONDS), self._numbers, handle))
        self._scheduler.at(round(when * NANOSECONDS), self._process, self._fall_due)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """See `asyncio.AbstractEventLoop`."""
        return asyncio.Future(loop=self.itself)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """See `asyncio.AbstractEventLoop`."""
        task = asyncio.Task(coro, loop=self.itself, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody took is a bug of the code under test."""
        error = context.get("exception") or RuntimeError(str(context.get("message")))
        self._scheduler.escaped.append((self._process, error))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by `TimerHandle`: its event comes and finds that it was canceled."""

    def _fall_due(self) -> None:
        """In the order of their times, also where the process stood still past several of them."""
        while self._timers and self._timers[0][0] <= self._scheduler.now:
            self._ready.append(heappop(self._timers)[2])
        self._turn()

    def _kick(self) -> None:
        if not self._due:
            self._due = True
            soon = self._scheduler.seconds(self._scheduler.random.random() * WAKE_WITHIN)
            self._scheduler.at(soon, self._process, self._turn)

    def _turn(self) -> None:
        self._due = False
        events._set_running_loop(self.itself)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(None)
        if self._ready:
            self._kick()

    def _abandon(self) -> None:
        """The process is dead: let go of its coroutines, so that none of them complains of it later."""
        for task in list(self._tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # CPython's own way to say so
            coroutine = task.get_coro()
            if coroutine is not None:
                coroutine.close()
        self._tasks.clear()
        self._ready.clear()
