"""A pool of worker processes for systems whose own worker is one process: replicas of one command.

    from harness_worker import pool

    pool.run(["{python}", "worker.py"])           # HARNESS_WORKERS processes

`python -m harness_worker.pool COMMAND...` does the same. A worker that ends is started again, as systemd and Kubernetes
do. SIGTERM goes to every worker, and the pool ends once they have ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from .environment import SETTINGS

_RESTART_SECONDS = 1.0
"""A worker that ended sooner than this after its start is started again only then, so that it does not spin."""


def run(command: Sequence[str], *, count: int | None = None) -> None:
    """Keep `count` processes of `command` running until SIGTERM, then end with the worst of their exit codes.

    The exit code is 0 if every worker ended with 0 after SIGTERM, else that of one that did not, as a shell gives it:
    128 plus the number of the signal for a worker that a signal ended.
    """
    sys.exit(_Replicas(list(command), SETTINGS.workers if count is None else count).run())


class _Replicas:
    def __init__(self, command: list[str], count: int) -> None:
        self._command = command
        self._stopping = threading.Event()
        self._worst = 0
        self._workers: dict[int, tuple[subprocess.Popen[Any], float]] = {}
        signal.signal(signal.SIGTERM, self._stop)
        for _ in range(count):
            self._start()

    def run(self) -> int:
        while self._workers:
            pid, status = os.wait()
            if pid not in self._workers:
                continue
            worker, started = self._workers.pop(pid)
            worker.returncode = os.waitstatus_to_exitcode(status)
            if self._stopping.is_set():
                code = worker.returncode
                self._worst = max(self._worst, code if code >= 0 else 128 - code)
                continue
            time.sleep(max(0.0, started + _RESTART_SECONDS - time.monotonic()))
            self._start()
        return self._worst

    def _start(self) -> None:
        if self._stopping.is_set():
            return
        worker = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        self._workers[worker.pid] = (worker, time.monotonic())
        if self._stopping.is_set():  # the signal arrived while it started
            worker.terminate()

    def _stop(self, *_: object) -> None:
        self._stopping.set()
        for pid in list(self._workers):
            os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    run(sys.argv[1:])
