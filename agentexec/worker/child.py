"""A worker process from the point of view of its parent."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from agentexec.core import runtime
from agentexec.core.counters import COUNTERS, decoded
from agentexec.worker.protocol import LEAVING, READY, REFUSED, StopCommand, WorkerSpec

STATUS_WITHIN = 1.0  # seconds after the end of a worker in which its last notices have to arrive
# The folder and the module search path of this process when it imported agentexec and its dependencies.
_START_FOLDER = Path(os.curdir).resolve()


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
    """One worker process. Two threads turn its status pipe and its death into events; nothing polls.

    Its options come through a pipe, since they may be longer than an argument can be.
    """

    def __init__(self, spec: WorkerSpec, post: Post) -> None:
        """Start the process."""
        self.spec = spec
        self.started = runtime.current().monotonic()
        self.ready = False
        self._post = post
        self._reason = ""
        status_read, status_write = os.pipe()
        options_read, options_write = os.pipe()
        options = {
            **asdict(spec),
            "status_fd": status_write,
            "argv": sys.argv,
            "import_path": _IMPORT_PATH,
            "sys_path": absolute(sys.path),
        }
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        try:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-P", "-c", _BOOTSTRAP, "agentexec.worker", str(options_read)],
                stdin=subprocess.PIPE,
                pass_fds=[status_write, options_read],
                env=os.environ | {"AGENTEXEC_WORKER_ID": spec.name},
            )
        except OSError:
            os.close(status_read)
            os.close(options_write)
            raise
        finally:
            os.close(status_write)
            os.close(options_read)
        self.pid = self._process.pid
        spawn = runtime.current().spawn
        talk = partial(self._talk, options_write, json.dumps(options).encode(), status_read)
        talks = False
        try:
            self._status = spawn(talk, name=f"status-{spec.name}")
            talks = True
            spawn(self._watch_end, name=f"end-{spec.name}")
        except RuntimeError as error:  # a system that limits processes counts threads too
            self._process.kill()
            self._process.communicate()
            if not talks:
                os.close(status_read)
                os.close(options_write)
            raise OSError(str(error)) from None

    def stop(self, command: StopCommand) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended: the event is on its way
            assert self._process.stdin is not None
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def _talk(self, options_fd: int, options: bytes, status_fd: int) -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(options_fd, "wb") as pipe:
            pipe.write(options)
        with os.fdopen(status_fd, "rb") as status:
            for line in status:
                if line == READY:
                    self._post(Ready(self))
                elif line == LEAVING:
                    self._post(Leaving(self))
                elif line.startswith(REFUSED):
                    self._reason = json.loads(line.removeprefix(REFUSED))
                else:
                    COUNTERS.absorb(decoded(line))

    def _watch_end(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._status.join(STATUS_WITHIN)
        self._post(Died(self, code, self._reason))


def absolute(search_path: Sequence[object]) -> list[str]:
    """The entries of a module search path, those that are relative to the folder of the start made absolute."""
    texts = [entry for entry in search_path if isinstance(entry, str)]  # the import system ignores all others
    # A name without a file is for an import hook.
    return [str(path) if (path := _START_FOLDER / entry).exists() else entry for entry in texts]


_IMPORT_PATH = absolute(sys.path)
# Before anything else is imported, the search path has to be that of the parent: a file in the working directory may
# have the name of a package that agentexec needs. A key of the terminal interrupts the whole process group; the parent
# decides what it means.
_BOOTSTRAP = """
import json, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: None)
with os.fdopen(int(sys.argv[2]), "rb") as pipe:
    options = json.load(pipe)
sys.path[:] = options["import_path"]
from agentexec.worker.process import end_with
end_with(options)
"""
