"""The parent process: keeps a number of workers alive until it has to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

WORKER = "tests.planted.destructive_pop.worker"


class Pool:
    def __init__(self, workers: int) -> None:
        self._draining = False
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        signal.signal(signal.SIGTERM, self._drain)
        for _ in range(workers):
            self._spawn()

    def run(self) -> None:
        while self._children:
            pid, _ = os.wait()
            child = self._children.pop(pid)
            child.returncode = 0  # reaped here: nothing for Popen to wait for
            assert child.stdin is not None
            child.stdin.close()
            if not self._draining:
                self._spawn()

    def _spawn(self) -> None:
        # The pipe is the worker's lifeline: it ends when its parent does.
        child = subprocess.Popen([sys.executable, "-m", WORKER], stdin=subprocess.PIPE)
        self._children[child.pid] = child
        if self._draining:
            os.kill(child.pid, signal.SIGTERM)

    def _drain(self, number: int, frame: FrameType | None) -> None:
        self._draining = True
        for pid in list(self._children):
            os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    Pool(int(os.environ["PLANTED_WORKERS"])).run()
