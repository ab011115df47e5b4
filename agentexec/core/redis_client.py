"""Redis clients: blocking ones for the queue, an awaitable one for application code."""

from __future__ import annotations

import asyncio
import weakref

import redis
import redis.asyncio
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from agentexec.config import Settings, default_settings, masked
from agentexec.errors import ConfigurationError, UnsupportedServer

MINIMUM_REDIS = 7
WAIT_SECONDS = 1.0  # longest blocking read of an idle worker; socket time-outs must exceed it

__all__ = ["blocking_client", "get_redis", "require_supported_redis"]

_async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
    weakref.WeakKeyDictionary()
)


def blocking_client(settings: Settings) -> redis.Redis:
    """A client for the queue. It resends after a lost reply, which every script of the queue allows."""
    url = settings.require_redis_url()
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=settings.redis_pool_timeout + WAIT_SECONDS,
            socket_connect_timeout=settings.redis_pool_timeout,
            retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), retries=3),
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
            max_connections=settings.redis_pool_size,
            health_check_interval=30,
        )
    except ValueError:  # its text may quote a part of the password
        raise ConfigurationError(
            f"REDIS_URL {masked(url)} cannot be used; it looks like redis://:password@host:6379/0."
        ) from None


async def get_redis() -> redis.asyncio.Redis:
    """The awaitable client of this event loop, made on first use from REDIS_URL. Replies are bytes."""
    loop = asyncio.get_running_loop()
    client = _async_clients.get(loop)
    if client is None:
        settings = default_settings()
        client = redis.asyncio.Redis.from_url(
            settings.require_redis_url(), max_connections=settings.redis_pool_size
        )
        _async_clients[loop] = client
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
