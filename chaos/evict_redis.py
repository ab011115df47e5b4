"""Redis evicts keys under `allkeys-lru`, three times: parts of the queue vanish at random.

It is the setting that many guides recommend for caches, and it loses what a queue keeps in Redis. The activity store
restores every task. A task that runs while its lease is evicted may run twice.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.held_state import held
from harness.faults.redis_states import Evicting
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="evict-redis",
    summary="Redis evicts half of its data under allkeys-lru, three times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(Evicting(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    pool=_POOL,
)
