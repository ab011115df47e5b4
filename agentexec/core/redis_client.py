"""Redis clients: blocking ones for the queue, an asyncio one for application code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

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

from agentexec.config import Settings, default_settings
from agentexec.core.forking import keep
from agentexec.core.redis_address import parse_address
from agentexec.errors import ConfigurationError, UnsupportedServer
from agentexec.masking import masked

MINIMUM_REDIS = 7
WAIT_SECONDS = 1.0  # longest blocking read of an idle worker; socket time-outs must exceed it

_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def _leave_async_clients_to_parent() -> None:
    keep(dict(_async_clients))
    _async_clients.clear()


os.register_at_fork(after_in_child=_leave_async_clients_to_parent)


def renewing_client(settings: Settings) -> redis.Redis:
    """A client for the renewal of leases; raises `ConfigurationError` for a URL that cannot be used.

    It times out after at most a sixth of a lease and never resends, so that a worker detects in time that it
    cannot renew its leases.
    """
    timeout = min(settings.redis_pool_timeout, settings.lease_seconds / 6)
    return _blocking(
        settings,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), retries=0),
        max_connections=1,
    )


def blocking_client(settings: Settings) -> redis.Redis:
    """A client for the queue; raises `ConfigurationError` for a URL that cannot be used.

    It resends after a lost reply, which every script of the queue permits. With Sentinels, each new connection asks
    them for the master.
    """
    return _blocking(
        settings,
        socket_timeout=settings.redis_pool_timeout + WAIT_SECONDS,
        socket_connect_timeout=settings.redis_pool_timeout,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), retries=3),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        max_connections=settings.redis_pool_size,
        health_check_interval=30,
    )


def _blocking(settings: Settings, **options: Any) -> redis.Redis:
    client: redis.Redis = _connected(settings, options, redis.Redis, Sentinel, Retry)
    return client


async def get_redis() -> redis.asyncio.Redis:
    """The asyncio client of this event loop, created on first use from REDIS_URL. Replies are bytes.

    Raises `ConfigurationError` for a URL that cannot be used.
    """
    loop = asyncio.get_running_loop()
    client = _async_clients.get(loop)
    if client is None:
        settings = default_settings()
        options = {"max_connections": settings.redis_pool_size}
        classes = redis.asyncio.Redis, AsyncSentinel, AsyncRetry
        client = _async_clients[loop] = _connected(settings, options, *classes)
    return client


def _connected(settings: Settings, options: Mapping[str, Any], client: Any, sentinel: Any, retry: Any) -> Any:
    """A client of redis-py's classes for clients, Sentinels and retries, either the blocking or the asyncio ones."""
    address = parse_address(settings.require_redis_url())
    if isinstance(address, str):
        return client.from_url(address, **options)
    # A Sentinel that does not answer is skipped at once: the next one knows the master, and the call is resent anyway.
    sentinel_options = {
        "socket_timeout": settings.redis_pool_timeout,
        "socket_connect_timeout": settings.redis_pool_timeout,
        "retry": retry(NoBackoff(), retries=0),
        **address.sentinel,
    }
    sentinels = sentinel(address.sentinels, sentinel_kwargs=sentinel_options)
    return sentinels.master_for(address.service, **{**options, **address.master})


def require_supported_redis(client: redis.Redis, url: str) -> str | None:
    """Check that Redis answers and is new enough; returns a warning if it may evict queue keys, else None.

    Raises `ConfigurationError` if it does not answer, `UnsupportedServer` below 7.0.
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
    policy = eviction_policy(info)
    if policy is None:
        return None
    return (
        f"Redis evicts keys under memory pressure (maxmemory-policy {policy}): queued tasks can vanish until the "
        "reconciler dispatches them again. Set maxmemory-policy noeviction on the server that holds the queue."
    )


def eviction_policy(info: Mapping[str, Any]) -> str | None:
    """The maxmemory-policy in a reply of INFO; None if it evicts no keys."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    return None if policy == "noeviction" else policy
