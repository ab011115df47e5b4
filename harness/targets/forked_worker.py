"""`agentexec worker` as a fork of the run's fork server: the fork server of the pool is a fork too.

`python -m agentexec worker` starts an interpreter for it, which imports a second time what the process of the pool
imports. Here all of that is imported already, so a fork of the pool's process has the same. It is made where the
command starts that interpreter: the process has one thread, no connection, and nothing of the application.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from typing import NoReturn

from agentexec.cli import main, worker
from agentexec.core.fork_server import ForkServer
from agentexec.worker.process import serve


class ForkOfPool(ForkServer):
    """The fork server of a pool as a fork of it. If it dies, the next one is an interpreter, as everywhere."""

    _pid = 0
    _has_ended = False

    def start(self) -> None:
        """Fork, unless the fork server runs; called first while the process has one thread."""
        if not self._pid:
            own, other = socket.socketpair()
            self._pid = os.fork()
            if not self._pid:
                own.close()
                _serve(other)
            other.close()
            self._socket = self.enter_context(own)
            self.callback(self._end)
        elif self._has_ended or os.waitpid(self._pid, os.WNOHANG)[0]:
            self._has_ended = True
            super().start()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _serve(pool: socket.socket) -> NoReturn:
    """What the interpreter does after its imports."""
    signal.signal(signal.SIGINT, lambda *_: None)
    gc.disable()
    serve(pool.detach())


if __name__ == "__main__":
    setattr(worker, "ForkServer", ForkOfPool)  # noqa: B010 - it stands for the class there
    sys.exit(main(["worker", *sys.argv[1:]]))
