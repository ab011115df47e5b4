"""Ctrl-C and SIGTERM during a simulation.

Their exception must not begin in the code under test: that may catch anything, and an exception of it is a finding.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from harness.simulation.scheduler import Scheduler

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_between_events(scheduler: Scheduler) -> Iterator[None]:
    """In a `with` block, call the handlers of both signals between two events, or at its end; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # which no signal reaches
        return
    waiting: list[Callable[[], object]] = []

    def deliver() -> None:
        while waiting:
            waiting.pop()()

    def later(
        handler: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None
    ) -> None:
        waiting.append(partial(handler, number, frame))
        if len(waiting) > 1:
            deliver()
        scheduler.next(deliver)

    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    changed = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number, handler in changed.items():
        signal.signal(number, partial(later, handler))
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)
        deliver()
