"""What redis-py lacks: pools behind Sentinels whose callers wait for a connection, and names that may be refused."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from redis import BlockingConnectionPool
from redis.asyncio import BlockingConnectionPool as BlockingConnectionPoolAsync
from redis.asyncio.sentinel import SentinelConnectionPool as SentinelConnectionPoolAsync
from redis.exceptions import ResponseError
from redis.sentinel import SentinelConnectionPool


class BlockingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A pool of connections to the master, whose callers wait for a free one."""

    def release(self, connection: Any) -> None:
        """Take a connection back; one to a former master is dropped."""
        owned = self.owns_connection(connection)  # type: ignore[no-untyped-call]  # redis-py does not annotate them
        super().release(connection)  # type: ignore[no-untyped-call]
        if not owned:  # redis-py would keep it in its list for ever
            with contextlib.suppress(ValueError):
                self._connections.remove(connection)


class BlockingSentinelPoolAsync(SentinelConnectionPoolAsync, BlockingConnectionPoolAsync):
    """The same for asyncio."""


def naming(name: str) -> Callable[[Any], None]:
    """What redis-py is to do with a new connection: log in, then name it, unless the URL or an ACL is against it."""

    def connect(connection: Any) -> None:
        connection.on_connect()
        if connection.client_name is None:
            with contextlib.suppress(ResponseError):  # the user may lack the right, or a proxy the command
                connection.send_command("CLIENT", "SETNAME", name)
                connection.read_response()

    return connect


def naming_async(name: str) -> Callable[[Any], Awaitable[None]]:
    """The same for asyncio."""

    async def connect(connection: Any) -> None:
        await connection.on_connect()
        if connection.client_name is None:
            with contextlib.suppress(ResponseError):
                await connection.send_command("CLIENT", "SETNAME", name)
                await connection.read_response()

    return connect
