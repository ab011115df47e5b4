"""Time, threads, randomness and processes as a pool uses them: those of the operating system or of a simulation.

Code of pools and producers calls `current()` to wait, start a thread, read the clock or draw a random number. There
is one runtime per interpreter. A simulation replaces it with `use`; the same code then runs on a virtual clock, and
a seed decides the order of its threads.

A lock that is held for a few lines, and never during a wait, is a plain `threading.Lock`: the simulation switches
threads only where they wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol, TypeVar
from uuid import UUID, uuid4

from agentexec.core.identity import is_certainly_dead, process_identity
from agentexec.core.streams import flush_standard_streams
from agentexec.identifiers import new_id

FLUSH_WITHIN = 1.0  # seconds

T = TypeVar("T")


class Event(Protocol):
    """The methods of `threading.Event` that are used."""

    def is_set(self) -> bool:
        """Whether the event is set."""

    def set(self) -> None:
        """Set the event and wake its waiters."""

    def clear(self) -> None:
        """Reset the event; later waiters block again."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set, at most `timeout` seconds; returns whether it is."""


class Condition(Protocol):
    """The methods of `threading.Condition` that are used."""

    def __enter__(self) -> bool: ...

    def __exit__(self, *_: Any) -> None: ...

    def notify(self) -> None:
        """Wake one waiter."""

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate` is true, at most `timeout` seconds; returns its last value."""


class Mailbox(Protocol[T]):
    """The methods of `queue.SimpleQueue` that are used."""

    def put(self, item: T) -> None:
        """Add an item; never blocks."""

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove the next item; raises `queue.Empty` if none arrives within `timeout` seconds."""


class Thread(Protocol):
    """A started thread."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""


class Runtime(Protocol):
    """The environment of a process."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""

    def sleep(self, seconds: float, /) -> None:
        """Block the calling thread."""

    def event(self) -> Event:
        """A new event, not set."""

    def condition(self) -> Condition:
        """A new condition with its own lock."""

    def mailbox(self) -> Mailbox[T]:
        """A new empty mailbox."""

    def spawn(self, work: Callable[[], None], *, name: str) -> Thread:
        """Start a daemon thread."""

    def new_id(self) -> UUID:
        """A UUID that grows with time."""

    def nonce(self) -> str:
        """32 random hexadecimal digits."""

    def uniform(self, low: float, high: float, /) -> float:
        """A random number between the two."""

    def identity(self) -> str:
        """The identity of this process, by which other processes of the host recognise that it ended."""

    def is_certainly_dead(self, identity: str) -> bool:
        """Whether the process with this identity ran on this host and has ended."""

    def end_process(self, code: int) -> NoReturn:
        """End this process at once, without waiting for its threads.

        Logs and standard streams are flushed, if that is possible within `FLUSH_WITHIN` seconds.
        """


class SystemRuntime(Runtime):
    """The operating system."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
    event = staticmethod(threading.Event)
    condition = staticmethod(threading.Condition)
    new_id = staticmethod(new_id)
    uniform = staticmethod(random.uniform)
    identity = staticmethod(process_identity)
    is_certainly_dead = staticmethod(is_certainly_dead)

    def mailbox(self) -> Mailbox[T]:
        return queue.SimpleQueue()

    def spawn(self, work: Callable[[], None], *, name: str) -> Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def nonce(self) -> str:
        return uuid4().hex

    def end_process(self, code: int) -> NoReturn:
        try:  # nothing may keep the process from its end: a stream may be closed, or its reader may be stuck
            self.spawn(_flush, name="agentexec-flush").join(FLUSH_WITHIN)
        finally:
            os._exit(code)


def _flush() -> None:
    with contextlib.suppress(Exception):
        logging.shutdown()
    flush_standard_streams()


_current: Runtime = SystemRuntime()


def current() -> Runtime:
    """The runtime of this interpreter."""
    return _current


@contextlib.contextmanager
def use(runtime: Runtime) -> Iterator[None]:
    """Replace the runtime in a `with` block: for simulations, from one thread only."""
    global _current
    before, _current = _current, runtime
    try:
        yield
    finally:
        _current = before
