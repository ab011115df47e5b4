"""Clients whose server's scripts read a clock that the test owns.

Nobody can set the clock of a running server, and machines that compare queues need one time for all of them. So the one
line by which the scripts ask for the time, `redis.call('TIME')`, is replaced as the script is registered: it reads two
numbers from a list that the test has written. All else runs as it is, on the server itself. Time to live of results
(`SET .. EX`) and the wait of BLPOP stay the server's own; the machines look at neither.
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
