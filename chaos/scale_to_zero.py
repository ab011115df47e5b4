"""The only pool is stopped, three times; for two seconds no worker is there, and then another pool starts.

Would fail for tasks that need a worker at the moment of their enqueue, and for a pool that takes tasks with it.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.process import ScaleToZero
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_GRACEFUL = 3.0
_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0, graceful_shutdown=_GRACEFUL)

SCENARIO = Scenario(
    name="scale-to-zero",
    summary="the only pool is stopped for two seconds, three times, as by an autoscaler",
    workload=NumberedTasks(rate=16.0, work=(0.05, 0.25)),
    faults=tuple(ScaleToZero(at=at, graceful=_GRACEFUL) for at in (0.2, 0.45, 0.7)),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    pool=_POOL,
)
