"""The host of Redis crashes three times: the end of its append-only file is gone, as its settings allow.

Twice one second is lost under `appendfsync everysec`, which is what that setting allows, and once three seconds under
`no`, which allows as much as the host has not written yet (up to 30 s on Linux). Would fail for a system that
acknowledges a task from Redis. A task whose end is lost in the queue may be offered again.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.redis_tail import LoseRedisTail
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)

SCENARIO = Scenario(
    name="lose-redis-tail",
    summary="the host of Redis crashes: up to three seconds of acknowledged writes are gone, three times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(LoseRedisTail(at=at, lag=lag) for at, lag in ((0.2, 1.0), (0.45, 3.0), (0.7, 1.0))),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    pool=_POOL,
)
