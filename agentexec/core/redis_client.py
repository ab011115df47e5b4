"""Redis clients: blocking ones for the queue, an asyncio one for application code."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ClusterDownError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

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


class _Classes(NamedTuple):
    """Classes of redis-py, of which there are blocking and asyncio ones."""

    client: Any
    pool: Any
    sentinel: Any
    sentinel_pool: Any
    retry: Any


_BLOCKING = _Classes(redis.Redis, redis.BlockingConnectionPool, Sentinel, BlockingSentinelPool, Retry)
_ASYNCIO = _Classes(
    redis.asyncio.Redis,
    redis.asyncio.BlockingConnectionPool,
    AsyncSentinel,
    BlockingSentinelPoolAsync,
    AsyncRetry,
)
_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def _leave_async_clients_to_parent() -> None:
    keep(dict(_async_clients))
    _async_clients.clear()


os.register_at_fork(after_in_child=_leave_async_clients_to_parent)


def renewing_client(settings: Settings, *, name: str = "agentexec-worker") -> redis.Redis:
    """A client for the renewal of leases; raises `ConfigurationError` for a URL that cannot be used.

    It times out after at most a sixth of a lease and never resends, so that a worker detects in time that it
    cannot renew its leases.
    """
    timeout = min(settings.redis_pool_timeout, settings.lease_seconds / 6)
    return _blocking(
        settings,
        name,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0, RESENT),
        max_connections=1,
    )


def blocking_client(settings: Settings, *, name: str = "agentexec") -> redis.Redis:
    """A client for the queue; raises `ConfigurationError` for a URL that cannot be used.

    It resends after a lost connection, which every script of the queue permits, but not after a time-out. With
    Sentinels, each new connection asks them for the master. `name` appears in the server's list of clients.
    """
    return _blocking(
        settings,
        name,
        socket_timeout=settings.redis_pool_timeout + WAIT_SECONDS,
        socket_connect_timeout=settings.redis_pool_timeout,
        retry=Retry(_backoff(), 3, RESENT),
        max_connections=settings.redis_pool_size,
        health_check_interval=30,
    )


def reading_client(settings: Settings, *, name: str) -> redis.Redis:
    """A client for single reads that something else can answer too: it gives up after at most a second."""
    timeout = min(settings.redis_pool_timeout, 1.0)
    return _blocking(
        settings,
        name,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 1, RESENT),
        max_connections=settings.redis_pool_size,
    )


def _backoff() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(cap=0.5, base=0.02)


def _blocking(settings: Settings, name: str, **options: Any) -> redis.Redis:
    client: redis.Redis = _connected(settings, _BLOCKING, redis_connect_func=naming(name), **options)
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
            _ASYNCIO,
            socket_timeout=settings.redis_pool_timeout + WAIT_SECONDS,
            socket_connect_timeout=settings.redis_pool_timeout,
            retry=AsyncRetry(_backoff(), 3, RESENT),
            max_connections=settings.redis_pool_size,
            redis_connect_func=naming_async("agentexec"),
        )
    return client


def _connected(settings: Settings, classes: _Classes, **options: Any) -> Any:
    """A client whose callers wait for a free connection up to REDIS_POOL_TIMEOUT."""
    address = parse_address(settings.require_redis_url())
    options["timeout"] = settings.redis_pool_timeout
    if isinstance(address, str):
        return classes.client.from_pool(classes.pool.from_url(address, **options))
    # A Sentinel that does not answer is skipped at once: the next one knows the master, and the call is resent anyway.
    sentinel_options = {
        "socket_timeout": settings.redis_pool_timeout,
        "socket_connect_timeout": settings.redis_pool_timeout,
        "retry": classes.retry(NoBackoff(), retries=0),
        "redis_connect_func": options["redis_connect_func"],
        **address.sentinel,
    }
    sentinels = classes.sentinel(address.sentinels, sentinel_kwargs=sentinel_options)
    options |= {"connection_pool_class": classes.sentinel_pool, **address.master}
    return sentinels.master_for(address.service, classes.client, **options)


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
