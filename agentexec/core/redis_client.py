"""Redis clients: blocking ones for the queue, an asyncio one for application code."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ClusterDownError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from agentexec.config import Settings, default_settings
from agentexec.core.forking import keep, reset_in_child
from agentexec.core.redis_address import parse_address
from agentexec.core.redis_pools import BlockingSentinelPool, BlockingSentinelPoolAsync, naming, naming_async
from agentexec.errors import ConfigurationError, UnsupportedServer
from agentexec.masking import masked

MINIMUM_REDIS = 7
WAIT_SECONDS = 1.0  # longest blocking read of an idle worker; socket time-outs must exceed it
# After these errors a client drops its connection and sends again on a new one. If the address is a name, a virtual IP
# or a proxy, the new connection leads to the present master. LOADING is a ConnectionError, MASTERDOWN a
# ClusterDownError. A time-out is not among them: the caller has waited long enough.
RESENT: tuple[type[RedisError], ...] = (RedisConnectionError, ReadOnlyError, ClusterDownError)

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
    return _impatient(settings, "agentexec-worker", settings.lease_seconds / 6, retries=0, max_connections=1)


def blocking_client(settings: Settings, *, name: str = "agentexec") -> redis.Redis:
    """A client for the queue; raises `ConfigurationError` for a URL that cannot be used.

    It resends after a lost connection, which every script of the queue permits, but not after a time-out. With
    Sentinels, each new connection asks them for the master. `name` appears in the server's list of clients.
    """
    return _blocking(settings, name, **_patience(settings, redis), health_check_interval=30)


def reading_client(settings: Settings, *, name: str) -> redis.Redis:
    """A client for single reads that something else can answer too: it gives up after at most a second."""
    return _impatient(settings, name, 1.0, retries=1, max_connections=settings.redis_pool_size)


def _impatient(
    settings: Settings, name: str, timeout: float, *, retries: int, max_connections: int
) -> redis.Redis:
    timeout = min(settings.redis_pool_timeout, timeout)
    return _blocking(
        settings,
        name,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=redis.retry.Retry(NoBackoff(), retries, RESENT),
        max_connections=max_connections,
    )


def _patience(settings: Settings, module: Any) -> dict[str, Any]:
    """The options of a client for all purposes."""
    return {
        "socket_timeout": settings.redis_pool_timeout + WAIT_SECONDS,
        "socket_connect_timeout": settings.redis_pool_timeout,
        "retry": module.retry.Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), 3, RESENT),
        "max_connections": settings.redis_pool_size,
    }


def _blocking(settings: Settings, name: str, **options: Any) -> redis.Redis:
    client: redis.Redis = _connected(
        settings, redis, BlockingSentinelPool, redis_connect_func=naming(name), **options
    )
    reset_in_child(client.connection_pool, _leave_to_parent)
    return client


def _leave_to_parent(pool: Any) -> None:
    """In a forked child: drop the pool's connections, and its locks, which a thread of the parent may hold."""
    pool._lock, pool._fork_lock = threading.RLock(), threading.RLock()
    pool.reset()


async def get_redis() -> redis.asyncio.Redis:
    """The asyncio client of this event loop, created on first use from REDIS_URL. Replies are bytes.

    It has at most REDIS_POOL_SIZE connections. A caller waits up to REDIS_POOL_TIMEOUT for a free one and as long for
    a reply. Raises `ConfigurationError` for a URL that cannot be used.
    """
    loop = asyncio.get_running_loop()
    client = _async_clients.get(loop)
    if client is None:
        settings = default_settings()
        client = _async_clients[loop] = _connected(
            settings,
            redis.asyncio,
            BlockingSentinelPoolAsync,
            redis_connect_func=naming_async("agentexec"),
            **{**_patience(settings, redis.asyncio), "socket_timeout": settings.redis_pool_timeout},
        )
    return client


def _connected(settings: Settings, module: Any, sentinel_pool: type, **options: Any) -> Any:
    """A client of `redis` or `redis.asyncio`, whose callers wait for a connection up to REDIS_POOL_TIMEOUT."""
    address = parse_address(settings.require_redis_url())
    options["timeout"] = settings.redis_pool_timeout
    if isinstance(address, str):
        return module.Redis.from_pool(module.BlockingConnectionPool.from_url(address, **options))
    # A Sentinel that does not answer is skipped at once: the next one knows the master, and the call is resent anyway.
    sentinel_options = {
        "socket_timeout": settings.redis_pool_timeout,
        "socket_connect_timeout": settings.redis_pool_timeout,
        "retry": module.retry.Retry(NoBackoff(), retries=0),
        "redis_connect_func": options["redis_connect_func"],
        **address.sentinel,
    }
    sentinels = module.sentinel.Sentinel(address.sentinels, sentinel_kwargs=sentinel_options)
    options |= {"connection_pool_class": sentinel_pool, **address.master}
    return sentinels.master_for(address.service, module.Redis, **options)


def require_supported_redis(client: redis.Redis, url: str) -> str | None:
    """Check that Redis answers and is new enough; returns a warning if it may evict queue keys, else None.

    Raises `ConfigurationError` if it does not answer, `UnsupportedServer` below 7.0 and for Redis Cluster.
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
    if info.get("cluster_enabled"):
        raise UnsupportedServer(
            "Redis runs as a cluster, which agentexec does not support: its scripts change keys of several slots "
            "together; use one server, or a master with Sentinels."
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
