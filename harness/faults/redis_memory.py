"""Faults that lose data of Redis: all of it (FLUSHALL), or the last writes (failover to a lagging replica)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from harness.errors import HarnessError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class FlushRedis:
    """FLUSHALL while tasks are queued and running."""

    at: float
    gated: bool = False
    name: str = "flush-redis"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.BROKER_EMPTIED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0])

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """FLUSHALL; raises `HarnessError` if the run has no servers or Redis refuses."""
        _in_redis(context, lambda client: client.flushall())

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Lost data cannot be repaired."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailOverRedis:
    """Restore the state of `lag` seconds ago, as if a replica with that lag had become the master.

    Acknowledged writes of that time are lost, as the documentation of Redis replication permits.
    """

    at: float
    lag: float
    gated: bool = False
    name: str = "fail-over-redis"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.BROKER_EMPTIED
    sleep: Callable[[float], None] = time.sleep

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0], value={"lag": self.lag})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Save, wait and restore; raises `HarnessError` if the run has no servers or Redis refuses."""
        _in_redis(context, self._fail_over)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Lost data cannot be repaired."""

    def _fail_over(self, client: redis.Redis) -> None:
        keys: list[Any] = list(client.scan_iter(count=1000))
        reading = client.pipeline(transaction=True)
        for key in keys:
            reading.dump(key)
            reading.pttl(key)
        answers = reading.execute()
        self.sleep(self.lag)
        writing = client.pipeline(transaction=True)
        writing.flushall()
        for key, dump, ttl in zip(keys, answers[::2], answers[1::2], strict=True):
            if dump is not None:
                writing.restore(key, max(0, ttl), dump)
        writing.execute()


def _in_redis(context: FaultContext, work: Callable[[redis.Redis], object]) -> None:
    if context.environment is None:
        raise HarnessError("This run has no servers whose data could be lost. Run it on a backend.")
    try:
        with redis.Redis.from_url(context.environment.endpoints.redis_url) as client:
            work(client)
    except redis.RedisError as error:
        raise HarnessError(f"Redis refused: {type(error).__name__}. See its log.") from None
