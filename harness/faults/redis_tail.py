"""A crash of the host of Redis that takes the end of its append-only file: the worst loss that its settings allow."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from harness.environments.base import Killable
from harness.errors import GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.faults.redis_memory import redis_of
from harness.history import InjectionKind
from harness.history.promises import Loss

DOWN_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class LoseRedisTail:
    """Redis crashes, and starts again without what it wrote in the last `lag` seconds.

    With `appendfsync everysec` a crash of the host may take one second of acknowledged writes, and with `no` all that
    the kernel has not written yet (about 30 s). Source: "Redis persistence", section "How durable is the append only
    file?", https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/.
    """

    at: float
    lag: float
    gated: bool = False
    name: str = "lose-redis-tail"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.BROKER_TAIL_LOST

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _tail(context)
        return Aim(pids=(), pool=some_workers(context)[0], value={"lag": self.lag, "seconds": self.lag})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Note the length of the file, wait, kill Redis and cut the file; raises `GateError` if nothing was written."""
        file = _tail(context)
        size = file.stat().st_size
        time.sleep(self.lag)
        _killable(context).kill("redis")
        if not file.exists() or file.stat().st_size <= size:
            raise GateError(
                f"Redis wrote nothing in {self.lag:g} s that could be lost. Run this fault on a target that uses it."
            )
        os.truncate(file, size)
        time.sleep(DOWN_SECONDS)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start Redis on what is left; returns once it answers."""
        _killable(context).restart("redis")


def _tail(context: FaultContext) -> Path:
    """The file to which Redis appends now; raises `UsageError` if it is not on this machine."""
    _killable(context)
    assert context.environment is not None, "it can be killed"
    with redis_of(context.environment.endpoints) as redis:
        folder = Path(*(os.fsdecode(redis.setting(name) or b"") for name in ("dir", "appenddirname")))
    files = sorted(folder.glob("*.incr.aof"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        raise UsageError(
            "This fault cuts the append-only file of Redis, which is not on this machine. Choose --backend embedded."
        )
    return files[-1]


def _killable(context: FaultContext) -> Killable:
    servers: object = context.environment
    if not isinstance(servers, Killable):
        raise UsageError("This fault kills Redis, which this backend cannot do. Choose --backend embedded.")
    return servers
