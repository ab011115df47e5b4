"""A crash of the host of Redis that takes the end of its append-only file: the worst loss that its settings allow."""

from __future__ import annotations

import os
import posixpath
import time
from dataclasses import dataclass
from typing import Any, Protocol, cast

from harness.environments.base import Endpoints, FileAccess, Killable
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
        _servers(context)
        return Aim(pids=(), pool=some_workers(context)[0], value={"lag": self.lag, "seconds": self.lag})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Note the length of the file, wait, kill Redis and cut the file; raises `GateError` if nothing was written."""
        servers = _servers(context)
        assert context.environment is not None, "it has files"
        file = appended_file(context.environment.endpoints, servers)
        size = len(servers.read_file("redis", file))
        time.sleep(self.lag)
        servers.kill("redis")
        written = servers.read_file("redis", file)
        if len(written) <= size:
            raise GateError(
                f"Redis wrote nothing in {self.lag:g} s that could be lost. Run this fault on a target that uses it."
            )
        servers.write_file("redis", file, written[:size])
        time.sleep(DOWN_SECONDS)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start Redis on what is left; returns once it answers."""
        _servers(context).restart("redis")


class _Servers(Killable, FileAccess, Protocol):
    """What the fault needs of an environment."""


def _servers(context: FaultContext) -> _Servers:
    servers: Any = context.environment
    if not isinstance(servers, Killable) or not isinstance(servers, FileAccess):
        raise UsageError(
            "This fault kills Redis and cuts a file of it, which this backend cannot do. "
            "Choose --backend embedded or containers."
        )
    return cast("_Servers", servers)


def appended_file(endpoints: Endpoints, servers: FileAccess) -> str:
    """The file to which Redis appends now, as its manifest names it."""
    with redis_of(endpoints) as redis:
        names = [
            os.fsdecode(redis.setting(name) or b"") for name in ("dir", "appenddirname", "appendfilename")
        ]
    folder = posixpath.join(*names[:2])
    manifest = servers.read_file("redis", posixpath.join(folder, f"{names[2]}.manifest")).decode()
    files = [words[1] for words in map(str.split, manifest.splitlines()) if words[-1:] == ["i"]]
    if not files:
        raise UsageError("Redis has no append-only file. Start it with `appendonly yes`.")
    return posixpath.join(folder, files[-1])
