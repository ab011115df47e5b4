"""The fork server of a pool: a process that has imported what workers need, and forks each of them.

It imports nothing of the application and has one thread, so its children may do what they like. To import the same in
each worker takes half a second of processor time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from agentexec.core.streams import open_standard_descriptors

# The folder and the module search path of this process when it imported agentexec.
_START_FOLDER = Path(os.curdir).resolve()


class ForkServer:
    """The process, from the point of view of its pool. It ends with the pool; its workers do not end with it."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, if it was started."""
        process, self._process = self._process, None
        if process is not None and self._socket is not None:
            self._socket.close()
            process.kill()
            process.wait()

    def start(self) -> None:
        """Start the process, unless it runs; it imports meanwhile. Raises OSError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.__exit__()
        open_standard_descriptors()
        self._socket, other = socket.socketpair()
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        with other:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-P", "-c", _BOOTSTRAP, "agentexec.worker", str(other.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[other.fileno()],
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(json.dumps(_IMPORT_PATH).encode())

    def fork(self, commands: int, status: int, options: int) -> None:
        """Fork a worker, which gets copies of these descriptors; raises OSError.

        The server writes its PID to `status`, and its exit code at its end.
        """
        self.start()
        assert self._socket is not None
        socket.send_fds(self._socket, [b"f"], [commands, status, options])


def absolute(search_path: Sequence[object]) -> list[str]:
    """The entries of a module search path, those that are relative to the folder of the start made absolute."""
    texts = [entry for entry in search_path if isinstance(entry, str)]  # the import system ignores all others
    # A name without a file is for an import hook.
    return [str(path) if (path := _START_FOLDER / entry).exists() else entry for entry in texts]


_IMPORT_PATH = absolute(sys.path)
# Before anything else is imported, the search path has to be that of the parent: a file in the working directory may
# have the name of a package that agentexec needs. A key of the terminal interrupts the whole process group; the parent
# decides what it means. A collection of garbage finds none during imports.
_BOOTSTRAP = """
import gc, json, signal, sys
signal.signal(signal.SIGINT, lambda *_: None)
gc.disable()
sys.path[:] = json.load(sys.stdin)
from agentexec.worker.forking import serve
serve(int(sys.argv[2]))
"""
