"""SIGKILL of a whole pool, parent and children at once, as when its host crashes; a new pool takes over.

No process of the pool survives to release its leases. Another pool on the host releases them once it sees that the
PIDs are gone; otherwise they expire. Recovery time counts from the first worker of
the new pool on, and is bounded by the lease.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.process import kill_pool
from harness.scenario import RELEASE, SMOKE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)

SCENARIO = Scenario(
    name="kill-pool",
    summary="SIGKILL of a pool's parent and children at once, five times; a new pool takes over",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(kill_pool(at=at) for at in (0.08, 0.24, 0.40, 0.56, 0.72)),
    checkers=standard(
        concurrency=_POOL.concurrency,
        minimum_faults=5,
        minimum_kills=5,
        uses=("effects",),
    ),
    pool=_POOL,
    tags=(SMOKE, RELEASE),
)
