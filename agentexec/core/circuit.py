"""A circuit breaker: after a time-out, callers leave a server out until it answers again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import redis
from redis.sentinel import MasterNotFoundError

from agentexec.core import runtime

PROBE_EVERY_SECONDS = 1.0
# The second is raised after a time-out of each Sentinel.
TIMED_OUT = (redis.TimeoutError, MasterNotFoundError)


class Circuit:
    """Whether Redis is silent. Without it, each of many callers would wait for a time-out of its own."""

    def __init__(self, probe: Callable[[], object]) -> None:
        """`probe` calls Redis; it raises `RedisError` while Redis does not answer."""
        self._probe = probe
        self._closing = False
        self.silent = False

    def note(self, error: redis.RedisError) -> None:
        """Note an error. After one that took a time-out, Redis is silent until a probe in a thread succeeds."""
        if isinstance(error, TIMED_OUT) and not self.silent and not self._closing:
            self.silent = True
            runtime.current().spawn(self._until_it_answers, name="agentexec-probe")

    def close(self) -> None:
        """End the thread with its next probe."""
        self._closing = True

    def _until_it_answers(self) -> None:
        while self.silent:
            runtime.current().sleep(PROBE_EVERY_SECONDS)
            if self._closing:  # a probe would open a connection that nothing closes
                return
            with suppress(redis.RedisError):
                with suppress(redis.ResponseError):  # it refuses the call, so it answers
                    self._probe()
                self.silent = False
