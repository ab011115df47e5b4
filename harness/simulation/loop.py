"""The event loop of a simulated worker: asyncio's own tasks and time-outs on the virtual clock."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, cast

from harness.history.figures import NANOSECONDS
from harness.simulation.scheduler import Process, Scheduler

# The most seconds between the call of `call_soon` and the callback.
WAKE_WITHIN = 0.0001


class VirtualLoop:
    """The part of an event loop that tasks, futures, time-outs and sleeps use; it has no I/O."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process
        # Typed as a complete loop: tasks and handles use only the methods below.
        self.itself = cast(asyncio.AbstractEventLoop, self)
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._waking = False
        self._tasks: dict[asyncio.Task[Any], None] = {}
        process.at_exit.append(lambda _: scheduler.soon(None, self._abandon))

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._scheduler.now / NANOSECONDS

    def get_debug(self) -> bool:
        """Always False."""
        return False

    def is_running(self) -> bool:
        """Always True: the scheduler runs the callbacks."""
        return True

    def is_closed(self) -> bool:
        """Always False."""
        return False

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run `callback` in the next iteration of the loop."""
        handle = asyncio.Handle(callback, args, self.itself, context)
        self._ready.append(handle)
        self._wake()
        return handle

    call_soon_threadsafe = call_soon  # there is only one real thread

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` after `delay` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` at the time `when`, in seconds of `time`."""
        handle = asyncio.TimerHandle(when, callback, args, self.itself, context)
        self._numbers += 1
        heappush(self._timers, (round(when * NANOSECONDS), self._numbers, handle))
        self._scheduler.at(round(when * NANOSECONDS), self._process, self._run_timers)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """Create a future of this loop."""
        return asyncio.Future(loop=self.itself)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """Create a task that runs a coroutine in this loop."""
        task = asyncio.Task(coro, loop=self.itself, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an exception that no code caught: it is a bug of the code under test."""
        error = context.get("exception") or RuntimeError(str(context.get("message")))
        self._scheduler.escaped.append((self._process, error))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Required by `TimerHandle`; the callback of a canceled timer is skipped when it is due."""

    def _run_timers(self) -> None:
        """Run the due timers in the order of their times, also after a stall."""
        while self._timers and self._timers[0][0] <= self._scheduler.now:
            self._ready.append(heappop(self._timers)[2])
        self._run_ready()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            soon = self._scheduler.seconds(self._scheduler.random.random() * WAKE_WITHIN)
            self._scheduler.at(soon, self._process, self._run_ready)

    def _run_ready(self) -> None:
        self._waking = False
        events._set_running_loop(self.itself)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(None)
        if self._ready:
            self._wake()

    def _abandon(self) -> None:
        """Close the coroutines of a dead process, so that asyncio does not warn about pending tasks."""
        for task in list(self._tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # CPython's own attribute
            coroutine = task.get_coro()
            if coroutine is not None:
                coroutine.close()
        self._tasks.clear()
        self._ready.clear()
