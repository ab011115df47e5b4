"""The memory of the processes of pools: a thread that samples it while a run goes on."""

from __future__ import annotations

from harness.history import OperationType, Recorder
from harness.history.names import MEMORY
from harness.processes import own_memory
from harness.run.sampling_thread import SamplingThread
from harness.targets.pools import Pools

_PERIOD_SECONDS = 2.0


class MemoryGauge(SamplingThread):
    """Records a `memory` operation each two seconds."""

    def __init__(self, recorder: Recorder, pools: Pools, *, period: float = _PERIOD_SECONDS) -> None:
        super().__init__("memory")
        self._recorder = recorder
        self._pools = pools
        self._period = period

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
