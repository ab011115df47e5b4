"""A whole pool is SIGKILLed, parent and children at once, as when its host dies; a new pool takes over.

Nobody of the pool is left to release what its workers held. A new pool on the same host may see that their
processes are gone; at the latest their leases end: recovery is bounded by the lease and the time that a new
pool needs to come up.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.process import kill_pool
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)
_NEW_POOL = 3.0

SCENARIO = Scenario(
    name="kill-pool",
    summary="SIGKILL of a pool's parent and children at once, five times; a new pool takes over",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(kill_pool(at=at) for at in (0.08, 0.24, 0.40, 0.56, 0.72)),
    checkers=standard(
        recovery_p99=_POOL.lease + _NEW_POOL,
        concurrency=_POOL.concurrency,
        minimum_faults=5,
        minimum_kills=5,
        uses=("effects",),
    ),
    pool=_POOL,
)
