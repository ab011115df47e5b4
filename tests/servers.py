"""One embedded environment for each pytest process, shared by every folder whose tests need real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.environments.embedded import EmbeddedEnvironment

_running: list[EmbeddedEnvironment] = []
_users = 0


@contextmanager
def shared_environment() -> Iterator[EmbeddedEnvironment]:
    """The running environment; the first user starts it, the last one stops it.

    A session fixture of one conftest is not that of another, so each folder asks here and gets the same servers.
    """
    global _users
    if not _running:
        environment = EmbeddedEnvironment()
        environment.start()
        _running.append(environment)
    _users += 1
    try:
        yield _running[0]
    finally:
        _users -= 1
        if not _users:
            _running.pop().stop()
