"""Processes under test: each a program of its own, or a fork of the fork server (`harness.targets.fork_server`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from harness.processes import send

NUMBER = struct.Struct("!i")
"""How the fork server sends a process id, and later the exit code of that process."""

_SERVER = "harness.targets.fork_server"
_MODULE_FLAG = "-m"
_WAITING_REQUESTS = 128


class Program(Protocol):
    """A running process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its exit code if it is known."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        ...

    def kill(self) -> None:
        """SIGKILL it, unless its end is known."""
        ...


def start_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    streams: tuple[int, int, int],
    fork_server: str | None = None,
) -> Program:
    """Start a command with these standard streams; raises `OSError`.

    With the address of a fork server, which can run modules only (`python -m`), the process is a fork of that server.
    """
    if fork_server is not None:
        return ForkedProgram(fork_server, command, environment=environment, folder=folder, streams=streams)
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        # Ctrl-C at the terminal must reach the runner only, which then stops the process in order.
        start_new_session=True,
    )


class ForkedProgram:
    """A fork of the fork server, which runs a module of Python. Safe to use from any thread."""

    def __init__(
        self,
        address: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
    ) -> None:
        """Start the process; raises `OSError` if the fork server has ended."""
        if list(command[:2]) != [sys.executable, _MODULE_FLAG]:
            raise ValueError(f"A fork server runs modules of its own interpreter, and not {command[0]}.")
        request = {
            "arguments": list(command[2:]),
            "environment": dict(environment),
            "folder": str(folder),
        }
        self._command = list(command)
        self._end = Future[int]()
        with ExitStack() as undo:
            server = undo.enter_context(socket.socket(socket.AF_UNIX))
            server.connect(address)
            socket.send_fds(server, [b"f"], streams)
            server.sendall(json.dumps(request).encode() + b"\n")
            self.pid = _number(server)
            undo.pop_all()
        threading.Thread(target=self._watch, args=(server,), name=f"end-of-{self.pid}", daemon=True).start()

    @property
    def returncode(self) -> int | None:
        return self._end.result() if self._end.done() and self._end.exception() is None else None

    def wait(self, timeout: float | None = None) -> int:
        try:
            return self._end.result(timeout)
        except TimeoutError:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self._command, timeout) from None

    def kill(self) -> None:
        if self.returncode is None:
            send([self.pid], signal.SIGKILL)

    def _watch(self, server: socket.socket) -> None:
        with server:
            try:
                self._end.set_result(_number(server))
            except OSError as error:
                self._end.set_exception(error)


def _number(server: socket.socket) -> int:
    if len(answer := server.recv(NUMBER.size, socket.MSG_WAITALL)) < NUMBER.size:
        raise ConnectionError("the fork server has ended")
    (number,) = NUMBER.unpack(answer)
    return int(number)


@contextmanager
def fork_server(address: Path, modules: Sequence[str]) -> Iterator[str]:
    """A fork server that has imported these modules, at a Unix socket; it ends with the block, or with this process."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(_WAITING_REQUESTS)
        process = subprocess.Popen(
            [sys.executable, _MODULE_FLAG, _SERVER, str(listener.fileno()), *modules],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    with process:  # its standard input ends with the block
        yield str(address)
