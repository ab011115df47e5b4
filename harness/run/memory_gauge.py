"""The memory of the processes of pools: a thread that samples it while a run goes on."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from harness.history import OperationType, Recorder
from harness.history.names import MEMORY
from harness.processes import own_memory
from harness.targets.pools import Pools

_PERIOD_SECONDS = 2.0


class MemoryGauge:
    """Records a `memory` operation each two seconds. A context manager; the thread ends with it."""

    def __init__(self, recorder: Recorder, pools: Pools, *, period: float = _PERIOD_SECONDS) -> None:
        self._recorder = recorder
        self._pools = pools
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            # The workers of a user have no process here.
            found = {pool.name: own_memory([pool.pid]) for pool in self._pools.running()}
            pools = {
                name: {str(pid): size for pid, size in own.items()} for name, own in found.items() if own
            }
            try:
                self._recorder.record(OperationType.INFO, MEMORY, pools=pools)
            except OSError:  # a full disk: the recorders of the run report it
                return
