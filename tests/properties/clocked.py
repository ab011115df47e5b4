"""Redis clients whose scripts read a clock that the test controls.

The clock of a running server cannot be set, and machines that compare queues need one time for all of them. When a
script is registered, its only call for the time, `redis.call('TIME')`, is replaced by a read of two numbers that the
test has written to a list. Everything else runs unchanged on the server. The time to live of results (`SET .. EX`) and
the wait of BLPOP follow the server's clock; the machines use neither.
"""

from __future__ import annotations

from typing import Any

import fakeredis
import redis

ASKS_FOR_TIME = "redis.call('TIME')"
CLOCK = "clock-of-the-tests"


def under_the_clock(script: str) -> str:
    """The script with the test's clock in place of the server's."""
    assert ASKS_FOR_TIME in script, "a script that asks for the time in a way that this does not know"
    return script.replace(ASKS_FOR_TIME, f"redis.call('LRANGE', '{CLOCK}', 0, 1)")


class ClockedRedis(redis.Redis):
    """A real server."""

    def register_script(self, script: Any) -> Any:
        return super().register_script(under_the_clock(script))


class ClockedFake(fakeredis.FakeRedis):
    """fakeredis."""

    def register_script(self, script: Any) -> Any:
        return super().register_script(under_the_clock(script))


def set_clock(client: redis.Redis, microseconds: int) -> None:
    """What the scripts read from now on."""
    pipe = client.pipeline(transaction=True)
    pipe.delete(CLOCK)
    pipe.rpush(CLOCK, microseconds // 1_000_000, microseconds % 1_000_000)
    pipe.execute()
