"""Redis forgets: everything at once, as with FLUSHALL, or its last moments, as with a failover to a late replica."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from harness.errors import HarnessError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers


@dataclass(frozen=True, kw_only=True, slots=True)
class FlushRedis:
    """FLUSHALL while tasks are queued and running."""

    at: float
    gated: bool = False
    name: str = "flush-redis"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the pool that is up is named for the history."""
        return Aim(pids=(), pool=some_workers(world)[0])

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Forget; raises `HarnessError` where the run has no servers, or Redis refuses."""
        _in_redis(world, lambda client: client.flushall())

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to repair: what is gone is gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailOverRedis:
    """Redis knows what it knew `lag` seconds ago: a replica that was that far behind has become the master.

    Writes that were acknowledged meanwhile are lost, as Redis's documentation of replication says they may be.
    """

    at: float
    lag: float
    gated: bool = False
    name: str = "fail-over-redis"

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the pool that is up is named for the history."""
        return Aim(pids=(), pool=some_workers(world)[0], value={"lag": self.lag})

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Remember, wait, and go back; raises `HarnessError` where the run has no servers, or Redis refuses."""
        _in_redis(world, self._go_back)

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to repair: what is gone is gone."""

    def _go_back(self, client: redis.Redis) -> None:
        keys: list[Any] = list(client.scan_iter(count=1000))
        reading = client.pipeline(transaction=True)
        for key in keys:
            reading.dump(key)
            reading.pttl(key)
        answers = reading.execute()
        wait(self.lag)
        writing = client.pipeline(transaction=True)
        writing.flushall()
        for key, dump, ttl in zip(keys, answers[::2], answers[1::2], strict=True):
            if dump is not None:
                writing.restore(key, max(0, ttl), dump)
        writing.execute()


def wait(seconds: float) -> None:
    """Let the system go on for so long."""
    threading.Event().wait(seconds)


def _in_redis(world: FaultContext, work: Callable[[redis.Redis], object]) -> None:
    if world.environment is None:
        raise HarnessError("This run has no servers that could forget anything. Run it on a backend.")
    try:
        with redis.Redis.from_url(world.environment.endpoints.redis_url) as client:
            work(client)
    except redis.RedisError as error:
        raise HarnessError(f"Redis refused: {type(error).__name__}. See its log.") from None
