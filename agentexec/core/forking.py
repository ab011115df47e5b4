"""What a forked child must not share with its parent: threads, locks and connections.

A child has only the thread that called `fork`. A lock that another thread held at that moment stays locked in the
child for ever. A connection that both processes use mixes their requests and replies.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from weakref import WeakMethod

# Held during the import of a driver, so that no fork comes in between: the child would wait for that import for ever.
no_fork = threading.RLock()

_resets: set[WeakMethod[Callable[[], None]]] = set()
_kept: list[object] = []


def reset_in_child(reset: Callable[[], None]) -> None:
    """Call a bound method in every forked child, as long as its object exists."""
    _resets.add(WeakMethod(reset, _resets.discard))


def keep(connections: object) -> None:
    """Keep connections of the parent until the child ends: deleted, they would be closed for both."""
    _kept.append(connections)


def _reset_all() -> None:
    no_fork.release()
    for reference in list(_resets):
        reset = reference()
        if reset is not None:
            reset()


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_reset_all)
