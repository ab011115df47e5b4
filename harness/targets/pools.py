"""The pools of a run: started, watched until they end, and stopped, whatever happens in between."""

from __future__ import annotations

import math
import signal
import threading
import time

from harness.errors import TargetFailed
from harness.history import Operation, OperationType, Recorder
from harness.processes import descendants, send
from harness.targets.base import PoolHandle, TargetSession


class RunningPool:
    """A pool with its name in the history (`pool-1`, ...); its end is recorded as soon as it happens."""

    def __init__(self, name: str, handle: PoolHandle, recorder: Recorder) -> None:
        self.name = name
        self.pid = handle.pid
        self.code: int | None = None
        self._handle = handle
        self._recorder = recorder
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{name}", daemon=True)
        self._watcher.start()

    @property
    def is_running(self) -> bool:
        """Whether the parent process has not ended yet."""
        return not self._ended.is_set()

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are up, in ascending order."""
        return sorted(self._handle.worker_pids())

    def wait(self, within: float) -> bool:
        """Wait until the parent process ended; False if it has not within so many seconds."""
        return self._ended.wait(max(0.0, within))

    def kill(self) -> None:
        """SIGKILL the parent, so that it starts no more children, and every process below it."""
        below = descendants(self.pid)
        send([self.pid] if self.is_running else [], signal.SIGKILL)
        send(below, signal.SIGKILL)

    def log(self) -> str:
        """What the pool wrote to its output so far."""
        return self._handle.log()

    def _watch(self) -> None:
        while (code := self._handle.wait(math.inf)) is None:
            continue
        self.code = code
        self._recorder.append(
            Operation(
                time=time.monotonic_ns(),
                process=self.name,
                type=OperationType.INFO,
                f="exit",
                value={"pid": self.pid, "code": code},
            )
        )
        self._ended.set()


class Pools:
    """Every pool of one run, in the order in which they were started. Safe to use from any thread."""

    def __init__(self, session: TargetSession, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._pools: list[RunningPool] = []
        self._lock = threading.Lock()

    def start(self) -> RunningPool:
        """Start one more pool and return once its workers take tasks; raises `TargetFailed`."""
        with self._lock:
            name = f"pool-{len(self._pools) + 1}"
            pool = RunningPool(name, self._session.start_pool(), self._recorder)
            self._pools.append(pool)
            return pool

    def running(self) -> list[RunningPool]:
        """Pools whose parent has not ended, oldest first."""
        return [pool for pool in self._pools if pool.is_running]

    def owner(self, pid: int) -> RunningPool | None:
        """The running pool that a worker belongs to."""
        return next((pool for pool in self.running() if pid in pool.worker_pids()), None)

    def terminate(self, within: float) -> None:
        """SIGTERM every running pool and wait until they ended; `TargetFailed` names those that did not."""
        pools = self.running()
        send((pool.pid for pool in pools), signal.SIGTERM)
        deadline = time.monotonic() + within
        late = [pool.name for pool in pools if not pool.wait(deadline - time.monotonic())]
        if late:
            raise TargetFailed(
                f"{', '.join(late)} did not end within {within:g} s of SIGTERM. "
                "Look into the pool's log for a handler or a connection that does not let go."
            )

    def kill(self) -> None:
        """SIGKILL whatever still runs and wait for its end; the last resort of every run."""
        pools = self.running()
        for pool in pools:
            pool.kill()
        for pool in pools:
            pool.wait(_LAST_WAIT)

    def logs(self) -> dict[str, str]:
        """What each pool wrote to its output, by name."""
        return {pool.name: pool.log() for pool in self._pools}


_LAST_WAIT = 10.0
