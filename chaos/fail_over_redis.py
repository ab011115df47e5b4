"""Redis behind Sentinels loses its primary three times: it is killed, killed while replicas lag, and frozen.

Replicas are asynchronous, so writes that the lost primary acknowledged may be gone. The killed servers come back as
replicas. The frozen one comes back as a primary, with its connections, until a Sentinel demotes it. Would fail for a
system that acknowledges a task from Redis, or whose connections stay with the old primary.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.environments.base import Topology
from harness.faults.failing_over import FreezePrimary, KillPrimary
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)

SCENARIO = Scenario(
    name="fail-over-redis",
    summary="the primary of Redis is killed twice, once with replicas that lag, and frozen once; Sentinels replace it",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=(
        KillPrimary(service="redis", at=0.1),
        KillPrimary(service="redis", at=0.4, lag=1.0),
        FreezePrimary(at=0.7),
    ),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    topology=Topology.REDIS_SENTINEL,
    own_servers=True,
    pool=_POOL,
    timeout=90.0,
    # A failover takes about five seconds with its heal, so that the last one still has tasks to strike.
    tasks=480,
)
