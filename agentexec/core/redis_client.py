"""Redis clients: blocking ones for the queue, an awaitable one for application code."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

from agentexec.config import Settings, default_settings, masked
from agentexec.core.redis_address import parse_address
from agentexec.errors import ConfigurationError, UnsupportedServer

MINIMUM_REDIS = 7
WAIT_SECONDS = 1.0  # longest blocking read of an idle worker; socket time-outs must exceed it

__all__ = ["blocking_client", "get_redis", "renewing_client", "require_supported_redis"]

_async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
    weakref.WeakKeyDictionary()
)


def renewing_client(settings: Settings) -> redis.Redis:
    """A client for the renewal of leases: it gives up within a sixth of a lease and sends nothing twice, so that
    a worker notices in time that it can no longer prolong what it holds.

    Raises `ConfigurationError` for a URL that cannot be used.
    """
    patience = min(settings.redis_pool_timeout, settings.lease_seconds / 6)
    return _client(
        settings,
        {
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
            "retry": Retry(NoBackoff(), retries=0),
            "max_connections": 1,
        },
    )


def blocking_client(settings: Settings) -> redis.Redis:
    """A client for the queue. It resends after a lost reply, which every script of the queue allows. Behind
    Sentinels it asks for the master with every new connection.

    Raises `ConfigurationError` for a URL that cannot be used.
    """
    options: dict[str, Any] = {
        "socket_timeout": settings.redis_pool_timeout + WAIT_SECONDS,
        "socket_connect_timeout": settings.redis_pool_timeout,
        "retry": Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), retries=3),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
        "max_connections": settings.redis_pool_size,
        "health_check_interval": 30,
    }
    return _client(settings, options)


def _client(settings: Settings, options: dict[str, Any]) -> redis.Redis:
    address = parse_address(settings.require_redis_url())
    if isinstance(address, str):
        return redis.Redis.from_url(address, **options)
    # One that does not answer is passed over at once: the next one knows, and the call is sent again anyway.
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        address.sentinels,
        sentinel_kwargs={
            "socket_timeout": settings.redis_pool_timeout,
            "socket_connect_timeout": settings.redis_pool_timeout,
            "retry": Retry(NoBackoff(), retries=0),
            **address.sentinel,
        },
    )
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]  # as above
        address.service, **{**options, **address.master}
    )
    return client


async def get_redis() -> redis.asyncio.Redis:
    """The awaitable client of this event loop, made on first use from REDIS_URL. Replies are bytes.

    Raises `ConfigurationError` for a URL that cannot be used.
    """
    loop = asyncio.get_running_loop()
    client = _async_clients.get(loop)
    if client is None:
        client = _async_clients[loop] = _awaitable_client(default_settings())
    return client


def _awaitable_client(settings: Settings) -> redis.asyncio.Redis:
    address = parse_address(settings.require_redis_url())
    if isinstance(address, str):
        return redis.asyncio.Redis.from_url(address, max_connections=settings.redis_pool_size)
    sentinel = AsyncSentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        address.sentinels,
        sentinel_kwargs={
            "socket_timeout": settings.redis_pool_timeout,
            "socket_connect_timeout": settings.redis_pool_timeout,
            "retry": AsyncRetry(NoBackoff(), retries=0),
            **address.sentinel,
        },
    )
    client: redis.asyncio.Redis = sentinel.master_for(
        address.service, **{"max_connections": settings.redis_pool_size, **address.master}
    )
    return client


def require_supported_redis(client: redis.Redis, url: str) -> str | None:
    """Check that Redis answers, is new enough, and will not drop queue keys.

    Returns a warning to be logged loudly, or None. Raises `ConfigurationError` where it does not answer,
    `UnsupportedServer` below 7.0.
    """
    try:
        info = client.info()
    except RedisError as error:
        raise ConfigurationError(
            f"Redis at {masked(url)} does not answer ({masked(str(error))}); check REDIS_URL and the server."
        ) from None
    version = str(info.get("redis_version", "0"))
    if int(version.split(".")[0]) < MINIMUM_REDIS:
        raise UnsupportedServer(
            f"Redis {version} is too old: agentexec needs {MINIMUM_REDIS}.0 or newer; upgrade the server."
        )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        return (
            f"Redis evicts keys under memory pressure (maxmemory-policy {policy}): queued tasks can vanish until the "
            "reconciler brings them back. Set maxmemory-policy noeviction on the server that holds the queue."
        )
    return None
