"""A rate limit for the creation of tasks by one caller, counted in Redis by all API servers together.

Without Redis each server counts for itself, since a task can be recorded without Redis.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from uuid import uuid4

import limits
import redis
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from agentexec.errors import ConfigurationError
from agentexec.ops.logs import LastingProblem

OFF = "off"
REDIS_PAUSE = 10.0  # seconds without a call to Redis after it failed

# The requests of the window are counted, and the new one is added, in one step of the server and by its clock.
# KEYS: the requests of a caller, a sorted set: nonce -> time in ms.
# ARGV: the nonce of this request, the limit, the window in ms.
# returns: 0, or the milliseconds until the next request may be. A request that is sent again gets the same answer.
_ADMIT = """
local requests, nonce, limit, window = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if redis.call('ZSCORE', requests, nonce) then return 0 end
redis.call('ZREMRANGEBYSCORE', requests, '-inf', now - window)
if redis.call('ZCARD', requests) < limit then
  redis.call('ZADD', requests, now, nonce)
  redis.call('PEXPIRE', requests, window)
  return 0
end
local oldest = redis.call('ZRANGE', requests, 0, 0, 'WITHSCORES')
return math.max(1, tonumber(oldest[2]) + window - now)
"""

_logger = logging.getLogger(__name__)


class CreationLimit:
    """A moving window per caller. Safe to use from any thread; blocks during the call to Redis."""

    def __init__(self, text: str, client: redis.Redis, queue_name: str) -> None:
        """`text` is like `100/minute`, or `off`; raises `ConfigurationError` for anything else.

        The limit closes `client`, which nothing else may use: the limit waits for a free connection of it.
        """
        self._limit = _parsed(text)
        self._client = client
        self._free = threading.BoundedSemaphore(client.connection_pool.max_connections)
        self._admit = client.register_script(_ADMIT)
        self._prefix = f"{{{queue_name}}}:rate"
        self._lock = threading.Lock()
        self._own: MovingWindowRateLimiter | None = None
        self._paused_until = 0.0
        self._problem = LastingProblem(_logger, "Redis answers; all servers count together again")

    def wait(self, caller: str) -> int | None:
        """Count a request; returns None if it is within the limit, else the seconds until the next one may be."""
        if self._limit is None:
            return None
        with self._free:
            if time.monotonic() >= self._paused_until:
                try:
                    seconds = self._shared(self._limit, caller)
                    self._problem.seen(None)
                    return seconds
                except redis.RedisError as error:
                    self._problem.seen(
                        f"Redis does not answer ({type(error).__name__}); this server counts for itself"
                    )
                    self._paused_until = time.monotonic() + REDIS_PAUSE
        with self._lock:
            return self._alone(self._limit, caller)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._client.close()

    def _shared(self, limit: limits.RateLimitItem, caller: str) -> int | None:
        window = limit.get_expiry()
        key = f"{self._prefix}:{limit.amount}/{window}:{caller}"
        milliseconds = int(self._admit(keys=[key], args=[uuid4().hex, limit.amount, window * 1000]))
        return math.ceil(milliseconds / 1000) or None

    def _alone(self, limit: limits.RateLimitItem, caller: str) -> int | None:
        if self._own is None:
            self._own = MovingWindowRateLimiter(MemoryStorage())
        if self._own.hit(limit, caller):
            return None
        free_at = self._own.get_window_stats(limit, caller).reset_time
        return max(1, math.ceil(free_at - time.time()))


def _parsed(text: str) -> limits.RateLimitItem | None:
    if text.strip().lower() == OFF:
        return None
    try:
        (limit,) = limits.parse_many(text)
    except ValueError:  # also for several limits
        limit = None
    if limit is None or not limit.amount:
        raise ConfigurationError(f"AGENTEXEC_API_RATE_LIMIT is {text!r}; write it like 100/minute, or {OFF}.")
    return limit
