"""Redis loses all its data under load, three times, as by FLUSHALL or a failover to an empty replica.

The activity store is the source of truth: the reconciler dispatches every unfinished task again within a second. A task
that runs at that moment may run twice, so one duplicate run per slot and fault is allowed.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.redis_memory import FlushRedis
from harness.scenario import RELEASE, SMOKE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=2.0)
_AT = (0.25, 0.5, 0.75)

SCENARIO = Scenario(
    name="flush-redis",
    summary="FLUSHALL of Redis under load, three times; the activity store restores every task",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.6)),
    faults=tuple(FlushRedis(at=at) for at in _AT),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    pool=_POOL,
    tags=(SMOKE, RELEASE),
)
