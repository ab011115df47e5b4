"""A worker process as its parent sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agentexec.core import runtime
from agentexec.counters import COUNTERS, decoded
from agentexec.worker.protocol import DRAIN, LEAVING, NOW, READY
from agentexec.worker.reference import PoolReference


class WorkerProcess(Protocol):
    """One worker process, as far as its supervisor deals with it."""

    name: str
    slot: int
    started: float  # on the runtime's monotonic clock
    ready: bool

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    def drain(self) -> None:
        """Let running tasks finish, then end."""
        ...

    def stop_now(self) -> None:
        """Cancel running tasks, give their leases back, then end."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """The child takes tasks."""

    child: WorkerProcess


@dataclass(frozen=True, slots=True)
class Leaving:
    """The child claims nothing more and ends when its tasks have."""

    child: WorkerProcess


@dataclass(frozen=True, slots=True)
class Died:
    """The child has ended, for whatever reason."""

    child: WorkerProcess
    code: int


class Child:
    """One worker process. Two threads turn its pipe and its death into events; nothing polls."""

    def __init__(
        self,
        *,
        name: str,
        slot: int,
        reference: PoolReference,
        expect: list[str],
        post: Callable[[ChildEvent], None],
    ) -> None:
        """Start the process."""
        self.name = name
        self.slot = slot
        self.started = runtime.current().monotonic()
        self.ready = False
        self._post = post
        status_read, status_write = os.pipe()
        command = [sys.executable, "-m", "agentexec.worker", "--pool", reference.to_json(), "--name", name]
        command += [
            "--sys-path",
            json.dumps(sys.path),
            "--status-fd",
            str(status_write),
            "--expect",
            json.dumps(expect),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                pass_fds=[status_write],
                env=os.environ | {"AGENTEXEC_WORKER_ID": name},
            )
        except OSError:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        threading.Thread(
            target=self._watch_status, args=(status_read,), name=f"status-{name}", daemon=True
        ).start()
        threading.Thread(target=self._watch_end, name=f"end-{name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def drain(self) -> None:
        """Let running tasks finish, then end."""
        self._order(DRAIN)

    def stop_now(self) -> None:
        """Cancel running tasks, give their leases back, then end."""
        self._order(NOW)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def _order(self, order: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone: its end is on the way as an event
            assert self._process.stdin is not None
            self._process.stdin.write(f"{order}\n".encode())
            self._process.stdin.flush()

    def _watch_status(self, fd: int) -> None:
        with os.fdopen(fd, "rb") as status:
            for line in status:  # one that it is ready, then what it counted; it ends with the process
                if line == READY:
                    self._post(Ready(self))
                elif line == LEAVING:
                    self._post(Leaving(self))
                else:
                    COUNTERS.absorb(decoded(line))

    def _watch_end(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._post(Died(self, code))


ChildEvent = Ready | Leaving | Died


class StartChild(Protocol):
    """Starts a worker process that tells its supervisor through `post` what becomes of it; raises `OSError`."""

    def __call__(
        self,
        *,
        name: str,
        slot: int,
        reference: PoolReference,
        expect: list[str],
        post: Callable[[ChildEvent], None],
    ) -> WorkerProcess:
        """Start it."""
        ...
