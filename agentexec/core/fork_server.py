"""The fork server of a pool: a process that has imported what its workers need, and forks each of them.

It imports nothing of the application and has one thread, so its children may do what they like. Imports in each worker
would take half a second of processor time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from agentexec.core.streams import open_standard_descriptors

# The folder and the module search path of this process when it imported agentexec.
_START_FOLDER = Path(os.curdir).resolve()


class ForkServer(ExitStack):
    """The fork server, as its pool uses it; `close` ends it.

    Workers live on if it is killed, and the next fork starts another.
    """

    _process: subprocess.Popen[bytes] | None = None
    _socket: socket.socket

    def start(self) -> None:
        """Start the process, unless it runs. Workers get the environment, folder and rights of this moment.

        Raises OSError.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        open_standard_descriptors()
        own, other = socket.socketpair()
        self._socket = self.enter_context(own)
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        command = [sys.executable, *flags, "-P", "-c", _BOOTSTRAP, "agentexec.worker", str(other.fileno())]
        with other:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[other.fileno()])
        self._process = self.enter_context(process)
        self.callback(process.kill)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(_IMPORT_PATH).encode())

    def fork(self, *descriptors: int) -> None:
        """Fork a worker, which gets copies of its ends of three pipes: commands, options, status; raises OSError.

        The status pipe begins with the PID and ends with the exit code.
        """
        self.start()
        socket.send_fds(self._socket, [b"f"], descriptors)


def absolute(search_path: Sequence[object]) -> list[str]:
    """The entries of a module search path, those that are relative to the folder of the start made absolute."""
    texts = [entry for entry in search_path if isinstance(entry, str)]  # the import system ignores all others
    # A name without a file is for an import hook.
    return [str(path) if (path := _START_FOLDER / entry).exists() else entry for entry in texts]


_IMPORT_PATH = absolute(sys.path)
# Before anything else is imported, the search path has to be that of the parent: a file in the working directory may
# have the name of a package that agentexec needs. A key of the terminal interrupts the whole process group; the parent
# decides what it means. A collection of garbage finds nothing during imports.
_BOOTSTRAP = """
import gc, json, signal, sys
signal.signal(signal.SIGINT, lambda *_: None)
gc.disable()
sys.path[:] = json.load(sys.stdin)
import psycopg, sqlalchemy.dialects.postgresql.psycopg
from agentexec.worker.process import serve
serve(int(sys.argv[2]))
"""
