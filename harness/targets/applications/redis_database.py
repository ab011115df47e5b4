"""The Redis of an application under test: where its keys are during a run, and clients of its code that lead there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from harness.errors import TargetFailed, describe_error
from harness.targets.base import TargetSettings

# Options of a pool that say where a server is and who connects to it.
_ADDRESS = ("host", "port", "path", "db", "username", "password", "credential_provider")
_DATABASES = range(15, 0, -1)
_CLAIM = "harness-claim"
_TIMEOUT_SECONDS = 5.0


def repoint(pool: Any, url: str) -> None:
    """Let a connection pool of redis-py, sync or async, lead to another server; its other options stay.

    Raises `TargetFailed` for a pool that finds its server in another way, as those of Sentinel do.
    """
    try:
        fresh = type(pool).from_url(url)
    except TypeError:
        raise TargetFailed(
            f"A {type(pool).__name__} of the application cannot lead to the servers of the run. "
            "Connect to one server while the harness runs the application."
        ) from None
    options = pool.connection_kwargs
    for name in [one for one in options if one in _ADDRESS or one.startswith("ssl_")]:
        del options[name]
    options.update(fresh.connection_kwargs)
    pool.connection_class = fresh.connection_class
    pool.reset()


@contextmanager
def database_of(redis_url: str, settings: TargetSettings) -> Iterator[str]:
    """The URL of a database for the keys of one run, for a system that has no prefix for its keys.

    A disposable Redis is that of the run already. On another Redis it is one that is empty, and is emptied at the end.
    Raises `TargetFailed` if there is none.
    """
    if settings.disposable:
        yield redis_url
        return
    import redis  # here, since not every environment with the harness has it

    def client(url: str) -> redis.Redis:
        return redis.Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS)

    try:
        url = next(url for url in map(_numbered(redis_url), _DATABASES) if _claimed(client, url))
    except StopIteration:
        raise TargetFailed("No database of the Redis is empty. Empty one, or use embedded servers.") from None
    except redis.RedisError as error:
        raise TargetFailed(
            f"No database of the Redis can be used: {describe_error(error)}. Use embedded servers."
        ) from None
    try:
        yield url
    finally:
        with closing(client(url)) as connection:
            connection.flushdb()


def _claimed(client: Any, url: str) -> bool:
    with closing(client(url)) as connection:
        return not connection.dbsize() and bool(connection.set(_CLAIM, "1", nx=True))


def _numbered(redis_url: str) -> Any:
    parts = urlsplit(redis_url)
    return lambda number: parts._replace(path=f"/{number}").geturl()
