"""The signals of pools and workers, and what the processes that they start inherit.

No signal is set to be ignored: a program that a handler starts would ignore it too. A forked child inherits the
handlers and the pipe by which a signal wakes the event loop, so a signal to the child would stop its parent; the child
therefore gets the default handlers back.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

# Who starts a pool may have asked it to ignore these: `nohup` does, and a shell for a job in the background.
_MAY_BE_IGNORED = {signal.SIGHUP, signal.SIGQUIT}

Action = Callable[[], None]
_handled: set[signal.Signals] = set()
_before_fork = threading.local()


def _install(number: int, action: Action) -> None:
    signal.signal(number, lambda *_: action())


@contextmanager
def handled(
    actions: Mapping[signal.Signals, Action], install: Callable[[int, Action], object] = _install
) -> Iterator[None]:
    """Call these actions on signals during a `with` block; only for the main thread.

    `install` is `add_signal_handler` of an event loop where the actions are to run on it.
    """
    wanted = {
        number: action
        for number, action in actions.items()
        if number not in _MAY_BE_IGNORED or signal.getsignal(number) is not signal.SIG_IGN
    }
    previous = {number: signal.getsignal(number) for number in wanted}
    _handled.update(wanted)
    for number, action in wanted.items():
        install(number, action)
    # Its parent may have started it with some of them blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _handled.difference_update(wanted)


def nothing() -> None:
    """The action for a signal that the parent of a worker handles for it."""


def _block() -> None:
    """A signal that comes before the child has its own handlers has to wait."""
    _before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handled) if _handled else None


def _unblock() -> None:
    if (mask := getattr(_before_fork, "mask", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _reset_in_child() -> None:
    if _handled:
        signal.set_wakeup_fd(-1)
    for number in _handled:
        default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
    _unblock()


os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_reset_in_child)
