"""What a forked child must not share with its parent: threads, locks and connections.

A child has only the thread that called `fork`. A lock that another thread held at that moment stays locked in the
child for ever. A connection that both processes use mixes their requests and replies.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

# Held during the import of a driver, so that no fork comes in between: the child would wait for that import for ever.
no_fork = threading.RLock()

_resets: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()
_kept: list[object] = []


def reset_in_child(owner: T, reset: Callable[[T], None]) -> None:
    """Call `reset(owner)` in every forked child, as long as the owner exists; the oldest owners first."""
    _resets[owner] = reset


def keep(connections: object) -> None:
    """Keep connections of the parent until the child ends: deleted, they would be closed for both."""
    _kept.append(connections)


def _reset_all() -> None:
    no_fork.release()
    for owner, reset in list(_resets.items()):
        reset(owner)


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_reset_all)
