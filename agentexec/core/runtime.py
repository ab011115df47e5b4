"""Time, threads, chance and processes as a pool sees them: the operating system's, or those of a simulation.

Everything in a pool and a producer that waits, starts a thread, asks for the time or rolls a die does it through
`current()`. There is one runtime for the whole interpreter, as there is one world around it; a simulation puts its own
in its place with `use`, and then the very same code runs on a virtual clock, in an order that a seed decides.

Locks that are held for a few lines and never across a wait are not asked for here: nothing can come between.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, NoReturn, Protocol, TypeVar
from uuid import UUID, uuid4

from agentexec.core.identity import is_certainly_dead, process_identity
from agentexec.identifiers import new_id

T = TypeVar("T")


class Event(Protocol):
    """What `threading.Event` does, as far as it is used."""

    def is_set(self) -> bool:
        """Whether it was set."""
        ...

    def set(self) -> None:
        """Let all that wait go on."""
        ...

    def clear(self) -> None:
        """Let those that come wait again."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; whether it is."""
        ...


class Condition(Protocol):
    """What `threading.Condition` does, as far as it is used."""

    def __enter__(self) -> bool: ...

    def __exit__(self, *_: Any) -> None: ...

    def notify(self) -> None:
        """Let one that waits look again."""
        ...

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate` holds, at most `timeout` seconds; its last answer."""
        ...


class Mailbox(Protocol[T]):
    """What `queue.SimpleQueue` does, as far as it is used."""

    def put(self, item: T) -> None:
        """Add an item; never blocks."""
        ...

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The next item; raises `queue.Empty` where none came within `timeout` seconds."""
        ...


class Thread(Protocol):
    """A thread that was started."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        ...


class Runtime(Protocol):
    """The world around a process."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let the calling thread wait."""
        ...

    def event(self) -> Event:
        """A new event, not set."""
        ...

    def condition(self) -> Condition:
        """A new condition with a lock of its own."""
        ...

    def mailbox(self) -> Mailbox[T]:
        """A new empty mailbox."""
        ...

    def spawn(self, work: Callable[[], None], *, name: str) -> Thread:
        """Start a thread that does not keep the process alive."""
        ...

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Do `work` in a thread of its own, so many seconds from now."""
        ...

    def new_id(self) -> UUID:
        """A UUID that grows with time."""
        ...

    def nonce(self) -> str:
        """32 hexadecimal digits that nobody else has."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number between the two, by chance."""
        ...

    def identity(self) -> str:
        """What names this process to its neighbours, see `agentexec.core.identity`."""
        ...

    def is_certainly_dead(self, identity: str) -> bool:
        """Whether the process of that identity lived on this host and is gone."""
        ...

    def end_process(self, code: int) -> NoReturn:
        """End this process at once, without waiting for any of its threads."""
        ...


class SystemRuntime:
    """The operating system."""

    def monotonic(self) -> float:
        """See `Runtime.monotonic`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Runtime.sleep`."""
        time.sleep(seconds)

    def event(self) -> Event:
        """See `Runtime.event`."""
        return threading.Event()

    def condition(self) -> Condition:
        """See `Runtime.condition`."""
        return threading.Condition()

    def mailbox(self) -> Mailbox[T]:
        """See `Runtime.mailbox`."""
        return _SimpleMailbox()

    def spawn(self, work: Callable[[], None], *, name: str) -> Thread:
        """See `Runtime.spawn`."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """See `Runtime.after`."""
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()

    def new_id(self) -> UUID:
        """See `Runtime.new_id`."""
        return new_id()

    def nonce(self) -> str:
        """See `Runtime.nonce`."""
        return uuid4().hex

    def uniform(self, low: float, high: float) -> float:
        """See `Runtime.uniform`."""
        return random.uniform(low, high)  # noqa: S311 - jitter, no secret

    def identity(self) -> str:
        """See `Runtime.identity`."""
        return process_identity()

    def is_certainly_dead(self, identity: str) -> bool:
        """See `Runtime.is_certainly_dead`."""
        return is_certainly_dead(identity)

    def end_process(self, code: int) -> NoReturn:
        """See `Runtime.end_process`; what was printed and logged is flushed."""
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _SimpleMailbox(queue.SimpleQueue[T], Generic[T]):
    """`SimpleQueue` with the one signature that is used of its `put`."""

    def put(self, item: T) -> None:  # type: ignore[override]  # block and timeout mean nothing to it
        super().put(item)


_current: Runtime = SystemRuntime()


def current() -> Runtime:
    """The runtime that everything in this interpreter lives in."""
    return _current


@contextlib.contextmanager
def use(runtime: Runtime) -> Iterator[None]:
    """Put another runtime in its place for the length of a `with` block: for simulations, in one thread only."""
    global _current
    before, _current = _current, runtime
    try:
        yield
    finally:
        _current = before
