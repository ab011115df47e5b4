"""The pools of a run: starts pools, records their starts and exits, and stops them."""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from harness.errors import RecordingFailed, TargetFailed
from harness.history import Operation, OperationType, Recorder
from harness.history.names import KILL, START, STOP
from harness.processes import descendants, is_alive, send
from harness.targets.base import PoolHandle, TargetSession
from harness.targets.user_pool import UserPool

# Seconds to wait for the end of a pool after SIGKILL.
_KILL_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.05


class RunningPool:
    """A pool and its name in the history (`pool-1`, ...); the end of its parent is recorded at once."""

    def __init__(self, name: str, handle: PoolHandle, recorder: Recorder) -> None:
        self.name = name
        self.pid = handle.pid
        self.code: int | None = None
        self._handle = handle
        self._recorder = recorder
        self._terminated = False
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{name}", daemon=True)
        self._watcher.start()

    @property
    def is_running(self) -> bool:
        """Whether the parent process has not ended yet."""
        return not self._ended.is_set()

    @property
    def is_stopping(self) -> bool:
        """Whether it got SIGTERM and has not ended yet."""
        return self._terminated and self.is_running

    def worker_pids(self) -> list[int]:
        """Process ids of the running workers, in ascending order."""
        return sorted(self._handle.worker_pids())

    def wait(self, within: float) -> bool:
        """Wait until the parent process has ended; False after `within` seconds."""
        return self._ended.wait(max(0.0, within))

    def terminate(self) -> None:
        """SIGTERM the parent, once: to many systems a second one means to give up the running tasks."""
        if not self._terminated and self.is_running:
            self._terminated = True
            self._release()
            send([self.pid], signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the parent first, so that it starts no more children, then all its descendants."""
        self._release()
        below = descendants(self.pid)
        send([self.pid] if self.is_running else [], signal.SIGKILL)
        send(below, signal.SIGKILL)

    def log(self) -> str:
        """The output of the pool so far."""
        return self._handle.log()

    def _release(self) -> None:
        """Leave the workers of a user alone from now on: such a pool has no process to signal."""
        if isinstance(self._handle, UserPool):
            self._handle.release()

    def _watch(self) -> None:
        self.code = code = self._exit_code()
        with suppress(RecordingFailed):  # the history has a mark of it
            _record(self._recorder, self.name, OperationType.INFO, "exit", pid=self.pid, code=code)
        self._ended.set()

    def _exit_code(self) -> int | None:
        """The exit code of the parent; None if it has ended and the handle of the adapter does not have it."""
        while True:
            gone = not is_alive(self.pid)
            with suppress(Exception):  # the code of an adapter may raise anything
                if (code := self._handle.wait(math.inf)) is not None:
                    return code
            if gone:
                return None
            time.sleep(_POLL_SECONDS)


def _record(recorder: Recorder, pool: str, kind: OperationType, f: str, **value: Any) -> None:
    """Record an operation of a pool."""
    recorder.append(Operation(time=time.monotonic_ns(), process=pool, type=kind, f=f, value=value))


class Pools:
    """All pools of one run in the order of their start. Safe to use from any thread."""

    def __init__(self, session: TargetSession, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._pools: list[RunningPool] = []
        self._lock = threading.Lock()

    def start(self) -> RunningPool:
        """Start one more pool and return once its workers accept tasks; raises `TargetFailed`."""
        with self._lock:
            name = f"pool-{len(self._pools) + 1}"
            _record(self._recorder, name, OperationType.INVOKE, START)
            try:
                handle = self._session.start_pool()
            except BaseException:
                _record(self._recorder, name, OperationType.FAIL, START)
                raise
            pool = RunningPool(name, handle, self._recorder)
            _record(self._recorder, name, OperationType.OK, START, pid=pool.pid, pids=pool.worker_pids())
            self._pools.append(pool)
            return pool

    def running(self) -> list[RunningPool]:
        """The pools whose parent has not ended, oldest first."""
        return [pool for pool in self._pools if pool.is_running]

    def owner(self, pid: int) -> RunningPool | None:
        """The running pool of a worker; None if there is none."""
        return next((pool for pool in self.running() if pid in pool.worker_pids()), None)

    def terminate(self, within: float) -> None:
        """SIGTERM every running pool that got none, and wait for all; raises `TargetFailed` after `within` seconds."""
        pools = self.running()
        for pool in pools:
            _record(self._recorder, pool.name, OperationType.INFO, STOP, pid=pool.pid, seconds=within)
        for pool in pools:
            pool.terminate()
        deadline = time.monotonic() + within
        late = [pool.name for pool in pools if not pool.wait(deadline - time.monotonic())]
        if late:
            raise TargetFailed(
                f"{', '.join(late)} did not end within {within:g} s of SIGTERM. "
                "See the pool's log for a handler or a connection that blocks."
            )

    def kill(self) -> None:
        """SIGKILL every running pool and wait for its end."""
        pools = self.running()
        for pool in pools:
            _record(self._recorder, pool.name, OperationType.INFO, KILL, pid=pool.pid)
            pool.kill()
        for pool in pools:
            pool.wait(_KILL_WAIT_SECONDS)

    def logs(self) -> dict[str, str]:
        """The output of each pool, by name."""
        return {pool.name: pool.log() for pool in self._pools}
