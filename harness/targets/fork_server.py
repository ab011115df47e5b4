"""The fork server of a run: a process that has imported what processes under test need, and forks each of them.

The imports of a program are most of a second of processor time, which each start would take again. The server has one
thread and no connection, and imports nothing that reads the environment of a run. So a fork differs from a program that
was started by itself in what it has imported, and in nothing else: it has its own process id, session, environment,
folder and streams, and every connection that it uses is one that it makes.

It is run as `python -m harness.targets.fork_server DESCRIPTOR MODULE ...`, with the descriptor of a listening Unix
socket. Each connection is one process: it brings a request and three descriptors, and gets a process id, and at the end
of that process its exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from harness.targets.programs import NUMBER

_STREAMS = 3


class _ForkServer:
    """Takes requests from a listening socket until its standard input ends."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._clients: dict[int, socket.socket] = {}

    def serve(self) -> list[str]:
        """Returns in each child, with the module that it is to run and the arguments of that."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([sys.stdin, self._listener, self._woken], [], [])
            if sys.stdin in ready:
                sys.exit()
            if self._woken in ready:
                self._woken.recv(4096)
                self._report_ends()
            if self._listener in ready:
                client, _ = self._listener.accept()
                _, streams, _, _ = socket.recv_fds(client, 1, _STREAMS)
                request = json.loads(client.makefile("rb").readline())
                if not (pid := os.fork()):
                    client.close()
                    self._become(request, streams)
                    return list(request["arguments"])
                for stream in streams:
                    os.close(stream)
                self._clients[pid] = client
                _send(client, pid)

    def _report_ends(self) -> None:
        while self._clients:
            pid, how = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._clients.pop(pid) as client:
                _send(client, os.waitstatus_to_exitcode(how))

    def _become(self, request: dict[str, Any], streams: list[int]) -> None:
        """Leave everything of the server behind, in the child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._listener, self._woken, self._waker, *self._clients.values()):
            one.close()
        os.setsid()
        os.chdir(request["folder"])
        sys.path[0] = request["folder"]  # as `python -m` does
        os.environ.clear()
        os.environ.update(request["environment"])
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)


def _send(client: socket.socket, number: int) -> None:
    with suppress(OSError):  # it asks for nothing more
        client.sendall(NUMBER.pack(number))


def main() -> None:
    """Import the modules, and serve; in each child, run its module as the main program."""
    listener, *modules = sys.argv[1:]
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # a collection in a child would copy the memory of what is imported here
    sys.argv[:] = _ForkServer(socket.socket(fileno=int(listener))).serve()
    gc.enable()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
