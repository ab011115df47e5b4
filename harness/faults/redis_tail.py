"""A crash of the host of Redis that takes the end of its append-only file: the worst loss that its settings allow."""

from __future__ import annotations

import os
import posixpath
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from harness.environments.base import Endpoints, FileAccess, Killable, Service
from harness.errors import EnvironmentUnavailable, GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.faults.redis_memory import redis_of
from harness.history import InjectionKind
from harness.history.promises import Loss

DOWN_SECONDS = 0.5
EVERYSEC_SECONDS = 1.0
"""How much `appendfsync everysec` may lose; a longer lag needs `no`."""
# The rewriting of the file may remove one that the manifest has just named.
_TRIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LoseRedisTail:
    """Redis crashes, and starts again without what it wrote in the last `lag` seconds.

    Meanwhile `appendfsync` is `everysec` for a lag up to one second, which is what a crash of the host may then take,
    and `no` for a longer one: then it takes what the kernel has not written yet, up to about 30 s on Linux. What a
    rewriting of the file (`BGREWRITEAOF`) has synced in that time is kept. Source: "Redis persistence", section "How
    durable is the append only file?", https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/.
    """

    at: float
    lag: float
    gated: bool = False
    name: str = "lose-redis-tail"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.BROKER_TAIL_LOST
    service: Service = "redis"

    @property
    def appendfsync(self) -> str:
        """The setting that allows this loss."""
        return "everysec" if self.lag <= EVERYSEC_SECONDS else "no"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _servers(context)
        value = {"lag": self.lag, "seconds": self.lag, "appendfsync": self.appendfsync}
        return Aim(pids=(), pool=some_workers(context)[0], value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Note the lengths of the files, wait, kill Redis and cut them; raises `GateError` if nothing was written."""
        servers, files = _servers(context), self._files(context)
        kept = {path: len(data) for path, data in files.appended(servers).items()}
        time.sleep(self.lag)
        servers.kill("redis")
        lost = 0
        for path, written in files.appended(servers).items():
            # A file that is new is one of a rewriting, which began after the noted moment.
            length = kept.get(path, 0)
            if len(written) > length:
                servers.write_file("redis", path, written[:length])
                lost += len(written) - length
        aim.found["lost_bytes"] = lost
        if not lost:
            raise GateError(
                f"Redis wrote nothing in {self.lag:g} s that could be lost. Run this fault on a target that uses it."
            )
        time.sleep(DOWN_SECONDS)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start Redis on what is left; returns once it answers."""
        _servers(context).restart("redis")

    def _files(self, context: FaultContext) -> AppendOnlyFiles:
        """Set `appendfsync`, which a restart resets, and find the files."""
        assert context.environment is not None, "it has files"
        endpoints = context.environment.endpoints
        with redis_of(endpoints) as redis:
            redis.call("CONFIG", "SET", "appendfsync", self.appendfsync)
        return append_only_files(endpoints)


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendOnlyFiles:
    """The files of the append-only file of Redis: a manifest names them."""

    folder: str
    name: str

    def appended(self, servers: FileAccess) -> dict[str, bytes]:
        """The content of those to which Redis has appended; several while it rewrites them. Raises `UsageError`."""
        for _ in range(_TRIES - 1):
            with suppress(FileNotFoundError, EnvironmentUnavailable):
                return self._read(servers)
        return self._read(servers)

    def _read(self, servers: FileAccess) -> dict[str, bytes]:
        manifest = servers.read_file("redis", posixpath.join(self.folder, f"{self.name}.manifest")).decode()
        names = [words[1] for words in map(str.split, manifest.splitlines()) if words[-1:] == ["i"]]
        if not names:
            raise UsageError("Redis has no append-only file. Start it with `appendonly yes`.")
        paths = [posixpath.join(self.folder, one) for one in names]
        return {path: servers.read_file("redis", path) for path in paths}


def append_only_files(endpoints: Endpoints) -> AppendOnlyFiles:
    """Those of a Redis, as its settings name them."""
    with redis_of(endpoints) as redis:
        names = [
            os.fsdecode(redis.setting(name) or b"") for name in ("dir", "appenddirname", "appendfilename")
        ]
    return AppendOnlyFiles(folder=posixpath.join(*names[:2]), name=names[2])


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
