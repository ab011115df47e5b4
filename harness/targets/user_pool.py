"""Workers that the user runs, in the place of a pool: the harness neither starts nor signals them."""

from __future__ import annotations

import math
import threading

NO_PROCESS = 2**22 + 1
"""Above every process id of Linux and macOS: a signal to it reaches no process."""


class UserPool:
    """A `PoolHandle` without processes; it runs until it is released."""

    pid = NO_PROCESS

    def __init__(self) -> None:
        self._released = threading.Event()

    def worker_pids(self) -> list[int]:
        """One place holder: there are workers, and their process ids are not known."""
        return [NO_PROCESS]

    def wait(self, timeout: float) -> int | None:
        """0 once it is released; None after `timeout` seconds."""
        return 0 if self._released.wait(None if timeout == math.inf else max(0.0, timeout)) else None

    def log(self) -> str:
        """Nothing: the logs are where the user's workers write them."""
        return ""

    def release(self) -> None:
        """The run ends; the workers go on."""
        self._released.set()
