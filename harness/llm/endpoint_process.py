"""The process of an endpoint: whether it is on this machine, by what it says of itself."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointProcess:
    """A process; `clock` is equal for all processes with one monotonic clock, also in different containers."""

    clock: str
    pid: int
    started: float

    @classmethod
    def own(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(clock=_clock(), pid=pid, started=psutil.Process(pid).create_time())

    @classmethod
    def of_value(cls, value: Any) -> Self | None:
        """The process that `to_value` gave; None for an endpoint that does not say it."""
        if not isinstance(value, Mapping):
            return None
        return cls(clock=str(value["clock"]), pid=int(value["pid"]), started=float(value["started"]))

    def to_value(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @property
    def has_another_clock(self) -> bool:
        """Whether its times cannot be compared with those of this process."""
        return self.clock != _clock()

    @property
    def local_pid(self) -> int | None:
        """Its process id, if this machine has the process."""
        with suppress(psutil.Error):
            if not self.has_another_clock and psutil.Process(self.pid).create_time() == self.started:
                return self.pid
        return None


def _clock() -> str:
    boot, namespace = f"{uuid.getnode():x}", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/time").readlink())
    return f"{boot}/{namespace}"
