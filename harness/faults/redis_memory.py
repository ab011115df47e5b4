"""Faults that lose data of Redis: all of it (FLUSHALL), or the last writes (failover to a lagging replica)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from harness.environments.base import Endpoints, Service
from harness.environments.redis_connection import RedisConnection, RedisFailure
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
    service: Service = "redis"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0])

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """FLUSHALL; raises `HarnessError` if the run has no servers or Redis refuses."""
        _in_redis(context, lambda redis: redis.call("FLUSHALL"))

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
    service: Service = "redis"
    sleep: Callable[[float], None] = time.sleep

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0], value={"lag": self.lag})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Save, wait and restore; raises `HarnessError` if the run has no servers or Redis refuses."""
        _in_redis(context, self._fail_over)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Lost data cannot be repaired."""

    def _fail_over(self, redis: RedisConnection) -> None:
        keys = redis.keys()
        reading = [command for key in keys for command in (("DUMP", key), ("PTTL", key))]
        answers = redis.transaction(reading)
        self.sleep(self.lag)
        saved = zip(keys, answers[::2], answers[1::2], strict=True)
        restoring = [
            ("RESTORE", key, max(0, cast("int", ttl)), cast("bytes", dump))
            for key, dump, ttl in saved
            if dump is not None
        ]
        redis.transaction([("FLUSHALL",), *restoring])


def _in_redis(context: FaultContext, work: Callable[[RedisConnection], object]) -> None:
    if context.environment is None:
        raise HarnessError("This run has no servers whose data could be lost. Run it on a backend.")
    with redis_of(context.environment.endpoints) as redis:
        work(redis)


@contextmanager
def redis_of(endpoints: Endpoints) -> Iterator[RedisConnection]:
    """A connection for a fault; a `RedisFailure` inside the context is raised as `HarnessError`."""
    try:
        with RedisConnection(endpoints.redis_url) as redis:
            yield redis
    except RedisFailure as error:
        raise HarnessError(f"Redis refused: {error}. See its log.") from None
