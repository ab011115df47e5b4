"""A worker process from the point of view of its parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import IO, NamedTuple, Protocol

from agentexec.core import runtime
from agentexec.core.counters import COUNTERS, decoded
from agentexec.core.fork_server import ForkServer, absolute
from agentexec.worker.protocol import ENDED, LEAVING, PID, READY, REFUSED, ExitCode, StopCommand, WorkerSpec


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
    """The child has ended. `reason` is why it could not start, if it said so."""

    child: WorkerProcess
    code: int
    reason: str = ""


ChildEvent = Ready | Leaving | Died
Post = Callable[[ChildEvent], None]
StartChild = Callable[[WorkerSpec, Post], WorkerProcess]  # raises OSError


class Child:
    """One worker process, which the fork server forks. A thread turns its status pipe into events; nothing polls.

    Its options come through a pipe, since they may be longer than a message.
    """

    def __init__(self, fork_server: ForkServer, spec: WorkerSpec, post: Post) -> None:
        """Start the process; raises OSError."""
        self.spec = spec
        self.started = runtime.current().monotonic()
        self.ready = False
        self.pid = 0  # until the fork server has reported it
        self._post = post
        options = {**asdict(spec), "argv": sys.argv, "sys_path": absolute(sys.path)}
        commands, self._commands = _pipe()
        options_reader, options_writer = _pipe()
        status, status_writer = _pipe()
        talk = partial(self._talk, options_writer, json.dumps(options).encode(), status)
        try:
            with commands, options_reader, status_writer:
                fork_server.fork(commands.fileno(), options_reader.fileno(), status_writer.fileno())
            runtime.current().spawn(talk, name=f"status-{spec.name}")
        except (OSError, RuntimeError) as error:  # a system that limits processes counts threads too
            for pipe in (self._commands, options_writer, status):
                pipe.close()
            raise OSError(str(error)) from None

    def stop(self, command: StopCommand) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended: the event is on its way
            self._commands.write(f"{command}\n".encode())

    def kill(self) -> None:
        if self.pid and not self._commands.closed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _talk(self, options_writer: IO[bytes], options: bytes, status: IO[bytes]) -> None:
        with contextlib.suppress(BrokenPipeError), options_writer:
            options_writer.write(options)
        # If the fork server was killed, nothing reports the code, and the pipe ends with the worker.
        code, reason = int(ExitCode.FAILED), ""
        with status:
            for line in status:
                if line == READY:
                    self._post(Ready(self))
                elif line == LEAVING:
                    self._post(Leaving(self))
                elif line.startswith(PID):
                    self.pid = int(line.removeprefix(PID))
                elif line.startswith(REFUSED):
                    reason = json.loads(line.removeprefix(REFUSED))
                elif line.startswith(ENDED):
                    code = int(line.removeprefix(ENDED))
                    break
                else:
                    COUNTERS.absorb(decoded(line))
        self._commands.close()
        self._post(Died(self, code, reason))


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb", buffering=0)
