"""A worker process from the point of view of its parent."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import NamedTuple, Protocol

from agentexec.core import runtime
from agentexec.counters import COUNTERS, decoded
from agentexec.worker.protocol import LEAVING, READY, StopCommand, WorkerSpec


class WorkerProcess(Protocol):
    """One worker process, as its supervisor uses it."""

    spec: WorkerSpec
    started: float  # on the runtime's monotonic clock
    ready: bool
    pid: int

    def stop(self, command: StopCommand) -> None:
        """Send the command; nothing if the process has ended."""

    def kill(self) -> None:
        """Send SIGKILL."""


class Ready(NamedTuple):
    """The child takes tasks."""

    child: WorkerProcess


class Leaving(NamedTuple):
    """The child claims nothing more and ends when its tasks have ended."""

    child: WorkerProcess


class Died(NamedTuple):
    """The child has ended, for whatever reason."""

    child: WorkerProcess
    code: int


ChildEvent = Ready | Leaving | Died
Post = Callable[[ChildEvent], None]
StartChild = Callable[[WorkerSpec, Post], WorkerProcess]  # raises OSError


class Child:
    """One worker process. Two threads turn its status pipe and its death into events; nothing polls."""

    def __init__(self, spec: WorkerSpec, post: Post) -> None:
        """Start the process."""
        self.spec = spec
        self.started = runtime.current().monotonic()
        self.ready = False
        self._post = post
        status_read, status_write = os.pipe()
        options = asdict(spec) | {"sys_path": sys.path, "status_fd": status_write}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentexec.worker", json.dumps(options)],
                stdin=subprocess.PIPE,
                pass_fds=[status_write],
                env=os.environ | {"AGENTEXEC_WORKER_ID": spec.name},
            )
        except OSError:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        self.pid = self._process.pid
        spawn = runtime.current().spawn
        spawn(partial(self._watch_status, status_read), name=f"status-{spec.name}")
        spawn(self._watch_end, name=f"end-{spec.name}")

    def stop(self, command: StopCommand) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended: the event is on its way
            assert self._process.stdin is not None
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def _watch_status(self, fd: int) -> None:
        with os.fdopen(fd, "rb") as status:
            for line in status:
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
