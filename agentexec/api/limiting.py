"""A rate limit for the creation of tasks by one caller, counted in Redis by all API servers together.

Without Redis each server counts for itself, since a task can be recorded without Redis.
"""

from __future__ import annotations

import logging
import math
import time

import limits
import redis
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from agentexec.errors import ConfigurationError

OFF = "off"
REDIS_PAUSE = 10.0  # seconds without a call to Redis after it failed

_logger = logging.getLogger(__name__)


class CreationLimit:
    """A moving window per caller. Safe to use from any thread; blocks during the call to Redis."""

    def __init__(self, text: str, client: redis.Redis, queue_name: str) -> None:
        """`text` is like `100/minute`, or `off`; raises `ConfigurationError` for anything else."""
        self._limit = _parsed(text)
        storage = RedisStorage(
            "redis://", connection_pool=client.connection_pool, key_prefix=f"{{{queue_name}}}:rate"
        )
        self._shared = MovingWindowRateLimiter(storage)
        self._own: MovingWindowRateLimiter | None = None
        self._paused_until = 0.0

    def wait(self, caller: str) -> int | None:
        """Count a request; returns None if it is within the limit, else the seconds until the next one may be."""
        if self._limit is None:
            return None
        if time.monotonic() >= self._paused_until:
            try:
                return _hit(self._shared, self._limit, caller)
            except redis.RedisError as error:
                _logger.warning(
                    "Redis does not answer (%s); this server counts for itself", type(error).__name__
                )
                self._paused_until = time.monotonic() + REDIS_PAUSE
        if self._own is None:
            self._own = MovingWindowRateLimiter(MemoryStorage())
        return _hit(self._own, self._limit, caller)


def _hit(limiter: MovingWindowRateLimiter, limit: limits.RateLimitItem, caller: str) -> int | None:
    if limiter.hit(limit, caller):
        return None
    free_at = limiter.get_window_stats(limit, caller).reset_time
    return max(1, math.ceil(free_at - time.time()))


def _parsed(text: str) -> limits.RateLimitItem | None:
    if text.strip().lower() == OFF:
        return None
    try:
        return limits.parse(text)
    except ValueError:
        raise ConfigurationError(
            f"AGENTEXEC_API_RATE_LIMIT is {text!r}; write it like 100/minute, or {OFF}."
        ) from None
