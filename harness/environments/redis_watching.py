"""Connections by which the harness itself watches Redis: faults are not aimed at them, and do not count them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from harness.environments.base import WATCHING
from harness.environments.redis_connection import RedisConnection, RedisFailure, Reply, Word

_lock = threading.Lock()
_refused: Counter[str] = Counter()


class WatchingConnection(RedisConnection):
    """A connection with the name `WATCHING`, whose refusals are counted."""

    def __init__(self, url: str, *, timeout: float) -> None:
        """Connect as `RedisConnection`; raises `RedisFailure`."""
        super().__init__(url, timeout=timeout)
        with suppress(RedisFailure):  # a server may refuse this one command
            self.call("CLIENT", "SETNAME", WATCHING)

    def answers(self, commands: Sequence[Sequence[Word]]) -> list[Reply | RedisFailure]:
        """`RedisConnection.answers`; no other connection of this kind asks meanwhile."""
        with _lock:
            found = super().answers(commands)
            _refused.update(code_of(one) for one in found if isinstance(one, RedisFailure))
            return found


@contextmanager
def refused_while_watching() -> Iterator[Mapping[str, int]]:
    """How often each error was the answer to a watching connection; none of these asks inside the context."""
    with _lock:
        yield _refused


def code_of(refusal: RedisFailure) -> str:
    """The first word of an error, such as `BUSY`, under which the server counts it."""
    return str(refusal).partition(" ")[0]
