"""Tasks fail, wait, are canceled and submitted twice while workers die, replies are lost and Redis is emptied.

Would fail for a retry that is forgotten or charged twice, a delay that a rebuild drops, a cancel that a dead worker
takes along, and a second task for a key whose first submission had no answer.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.process import kill_random_worker, kill_worker_at_gate
from harness.faults.redis_memory import FlushRedis
from harness.faults.replies import LoseReply
from harness.scenario import RELEASE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks
from harness.workloads.varied_tasks import VariedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)

SCENARIO = Scenario(
    name="vary-tasks",
    summary="tasks that fail, wait, are canceled or submitted twice, under kills, lost replies and FLUSHALL",
    workload=VariedTasks(tasks=NumberedTasks(rate=20.0, work=(0.05, 0.3))),
    faults=(
        kill_worker_at_gate(at=0.08),
        LoseReply(service="redis", at=0.2, replies=6, seconds=1.5),
        kill_random_worker(at=0.36),
        FlushRedis(at=0.48),
        LoseReply(service="postgres", at=0.6, replies=6, seconds=1.5),
        kill_random_worker(at=0.78),
        kill_worker_at_gate(at=0.88),
    ),
    checkers=standard(recovery_p99=None, minimum_faults=5, minimum_kills=2, uses=("effects",))
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    proxied=("redis", "postgres"),
    pool=_POOL,
    tags=(RELEASE,),
)
